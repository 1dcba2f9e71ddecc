"""Sizes as people write them: `512`, `64KiB`, `10MiB`, `2G`."""

from __future__ import annotations

import re

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse(text: str, option: str) -> int:
    """Reads a size in bytes. Units are powers of 1,024.

    Args:
        text: as typed.
        option: what the error names.

    Raises:
        Failure: it cannot be read.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise Failure(f"{option}: {text!r} is no size; for example: 512, 64KiB, 10MiB", ExitCode.USAGE)
    return int(float(found[1]) * _UNITS[found[2].upper()])


def brief(size: int) -> str:
    """A size in the largest unit of which there is one at least: `512 B`, `1.5 MiB`."""
    for unit in ("T", "G", "M", "K"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.1f} {unit}iB"
    return f"{size} B"
