"""What is found out at the start about the places that the configuration names, rather than when they are needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from sira_grpc.agent.entries import KeptFiles, Workload
from sira_grpc.agent.safe_path import check_safe
from sira_grpc.errors import ConfigError

_log = logging.getLogger(__name__)


def check_places(home: Path, workloads: Sequence[Workload], kept: Sequence[KeptFiles]) -> None:
    """Refuses what could never be written, and warns of what could never match. Blocks.

    Args:
        home: the agent's own identity directory, which is there.
        workloads, kept: the entries.

    Raises:
        ConfigError: names the key and the rule.
    """
    for index, workload in enumerate(workloads):
        leads_to = os.path.realpath(workload.path) if workload.path else ""
        if leads_to != workload.path:
            _log.warning("workloads[%d].path: %s leads to %s, which is what counts", index, workload.path, leads_to)
    for index, entry in enumerate(kept):
        key = f"files[{index}].directory"
        if os.path.realpath(entry.directory) == os.path.realpath(home):
            raise ConfigError(f"{key}: is the agent's own identity directory")
        try:
            check_safe(entry.directory)
        except OSError as error:
            raise ConfigError(f"{key}: {entry.directory} is not safe: {error}") from error
        _check_may_give(f"files[{index}]", home, entry)


def _check_may_give(key: str, home: Path, entry: KeptFiles) -> None:
    """Tries whether the agent may give a file to the owner of an entry."""
    probe = home / ".given"
    for field, uid, gid in (("uid", entry.uid, -1), ("gid", -1, entry.gid)):
        try:
            probe.touch()
            os.chown(probe, uid, gid)
        except OSError as error:
            raise ConfigError(f"{key}.{field}: the agent may not give files to it: {error}") from error
        finally:
            probe.unlink(missing_ok=True)
