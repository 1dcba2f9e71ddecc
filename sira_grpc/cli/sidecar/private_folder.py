"""The private folder of a sidecar: for its sockets, whose paths may not be long."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_SOCKET = 107
"""Bytes of the path of a Unix socket, as Linux takes them."""
SHORT = Path("/tmp")
_PREFIX = "sira-sidecar-"
_LEFT = len("/sira-sidecar-abcdefgh/admin.sock")


@contextmanager
def private_folder(within: Path | None = None) -> Iterator[Path]:
    """Has a folder that nobody else gets into, for the length of the block.

    Args:
        within: where; the usual place for temporary files unless given. If its path is so long that no socket fits in
            it, as those of build machines may be, it is /tmp.
    """
    place = within or Path(tempfile.gettempdir())
    if len(str(place).encode()) + _LEFT > LONGEST_SOCKET:
        place = SHORT
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place) as folder:
        yield Path(folder)
