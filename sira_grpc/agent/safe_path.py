"""Whether a place on disk is safe to write to: nobody else may put something of his own there."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def check_safe(path: Path) -> None:
    """Refuses a path when somebody besides root and the agent's own user may replace it or a folder above it.

    Who could do that would have the agent write elsewhere, or answer in its place. What is not there yet is as safe as
    what is above it. Folders that all may write to are safe where each may only take away what is his, as in /tmp.

    Raises:
        PermissionError: it is not safe; names the folder and who could do it.
        OSError: a folder cannot be looked at.
    """
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        try:
            found = folder.stat()
        except FileNotFoundError:
            continue
        if found.st_uid not in (0, os.geteuid()):
            raise PermissionError(f"{folder} belongs to user {found.st_uid}, who could replace what is in it")
        if found.st_mode & stat.S_ISVTX or not stat.S_ISDIR(found.st_mode):
            continue
        if found.st_mode & stat.S_IWOTH:
            raise PermissionError(f"{folder} may be written to by everybody")
        if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
            raise PermissionError(f"{folder} may be written to by group {found.st_gid}")
