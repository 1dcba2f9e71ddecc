"""The agent's own identity directory: what it holds at the start, and that no two agents live in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sira_grpc.agent import keyed_svid, trust
from sira_grpc.agent.failures import IdentityLost
from sira_grpc.agent.keyed_svid import KeyedSvid
from sira_grpc.agent.safe_path import check_safe
from sira_grpc.agent.trust import Trust
from sira_grpc.errors import ConfigError
from sira_grpc.svid import identity_directory
from sira_grpc.svid.x509_svid import SvidExpired

LOCK = ".agent-lock"
"""A file that is locked for as long as an agent lives there."""


class Home:
    """A directory that one agent lives in at a time.

    Args:
        directory: the agent's identity directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock: int | None = None

    def enter(self) -> None:
        """Makes the directory if it is missing, and keeps other agents out. Blocks.

        Raises:
            ConfigError: another agent is there, others could write to it, or it cannot be made.
        """
        try:
            check_safe(self.directory)
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.leave()
            raise ConfigError(f"{self.directory}: is in use by another agent") from error
        except OSError as error:
            self.leave()
            raise ConfigError(f"{self.directory}: cannot be used: {error}") from error

    def leave(self) -> None:
        """Lets others in. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self, *, now: float) -> tuple[KeyedSvid, Trust] | None:
        """Returns the identity that is there, and the trust; None if there is none. Blocks.

        Args:
            now: Unix seconds.

        Raises:
            IdentityLost: it has expired.
            ConfigError: it cannot be read, or is damaged.
        """
        try:
            files = identity_directory.read(self.directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self.directory}: cannot be read: {error}") from error
        try:
            svid = keyed_svid.from_files(files, now=now)
            return svid, trust.from_files(files, svid.identity.trust_domain)
        except SvidExpired as error:
            raise IdentityLost(f"{self.directory}: {error}; join again, with a join token") from error
        except ValueError as error:
            raise ConfigError(f"{self.directory}: is no identity directory that can be used: {error}") from error
