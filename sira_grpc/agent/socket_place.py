"""The two Unix sockets of the agent: the one that everybody may connect to, and the private one behind it."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from sira_grpc.agent.safe_path import check_safe
from sira_grpc.errors import ConfigError

BACKLOG = 1024
_PRIVATE = ".private"


class SocketPlace:
    """Owns the paths, so that no two agents share them, and cleans up when it is closed.

    Args:
        path: of the public socket. Its folder is made if it is missing, open to all (0755); the private socket is in a
            folder beside it that only the agent may enter.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.private = path.with_name(path.name + _PRIVATE) / "api.sock"
        self._lock: int | None = None
        self._bound: tuple[int, int] | None = None

    def claim(self) -> None:
        """Makes the folders and takes hold of the paths. Blocks.

        Raises:
            ConfigError: another agent or program is there, or others could take the agent's place. Nothing is changed.
        """
        folder = self.private.parent
        try:
            _make_open(self.path.parent)
            check_safe(self.path.parent)
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            self._lock = _lock_private(folder)
            if _answers(self.path):
                raise ConfigError(f"socket: {self.path} is taken: another program answers there")
            self.private.unlink(missing_ok=True)
        except OSError as error:
            self.close()
            raise ConfigError(f"socket: {self.path} cannot be used: {error}") from error
        except ConfigError:
            self.close()
            raise

    def listen(self) -> socket.socket:
        """Returns the public socket, which listens. What an agent that was killed left there is replaced. Blocks.

        Raises:
            ConfigError: it cannot be bound, or what is there is no socket.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._remove_stale()
            listener.bind(str(self.path))
            # Nobody can connect before it listens, so nobody is refused in between.
            self.path.chmod(0o777)
            status = self.path.lstat()
            self._bound = (status.st_dev, status.st_ino)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise ConfigError(f"socket: {self.path} cannot be bound: {error}") from error
        return listener

    def withdraw(self) -> None:
        """Takes the public socket away, if it is still the agent's own. Blocks."""
        with suppress(OSError):
            status = self.path.lstat()
            if self._bound == (status.st_dev, status.st_ino):
                self.path.unlink()
        self._bound = None

    def close(self) -> None:
        """Cleans up and lets go of the paths. Idempotent. Blocks."""
        if self._lock is None:
            return
        self.withdraw()
        with suppress(OSError):
            self.private.unlink(missing_ok=True)
            self.private.parent.rmdir()
        os.close(self._lock)
        self._lock = None

    def _remove_stale(self) -> None:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise FileExistsError("it is there and no socket")
            self.path.unlink()


def _make_open(folder: Path) -> None:
    """Makes a folder, and those above it, that everybody may enter, whatever the umask."""
    if not folder.exists():
        _make_open(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def _lock_private(folder: Path) -> int:
    """Takes hold of the private folder, which must be the agent's own and closed to others."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
            raise PermissionError(f"{folder} must belong to the agent's user and have the mode 0700")
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ConfigError(f"socket: {folder} is in use by another agent") from error
    except OSError:
        os.close(handle)
        raise
    return handle


def _answers(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
        return True
