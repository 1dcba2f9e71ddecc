"""Finds committed transactions in a write-ahead log that SQLite's recovery has silently left out.

Recovery reads the log up to the first frame whose checksum fails, and forgets the rest: right for the torn end that a
power cut leaves, wrong for a flipped bit in the middle. The two can be told apart. Every commit is synced before the
next one begins, so a power cut leaves at most one commit behind the first bad frame; two or more mean that commits
which had been acknowledged are being forgotten. File formats: https://www.sqlite.org/walformat.html
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_MAX_PAGE_BYTES = 65536


def lost_commits(database: Path) -> int:
    """Counts the commits that recovery has left out wrongly; 0 if it has left out at most a torn end.

    To be called after the first read of a connection has rebuilt the `-shm` index, and before anything is written.
    """
    wal, index = (database.with_name(database.name + suffix) for suffix in ("-wal", "-shm"))
    if not wal.exists() or wal.stat().st_size <= _HEADER_BYTES:
        return 0
    with wal.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if _header_is_sound(header):
        page_bytes, salts = struct.unpack(">8xI4xII", header[:24])[0], header[16:24]
        return _commits(wal, page_bytes, _recovered_frames(index), salts)
    # SQLite has taken the log for an empty one.
    return _commits(wal, _page_bytes_of(database), 0, None)


def _header_is_sound(header: bytes) -> bool:
    """Checks the header's own checksum, as the file format describes it."""
    order = ">" if header[3] & 1 else "<"
    words = struct.unpack(order + "6I", header[:24])
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return struct.unpack(">II", header[24:32]) == (first, second)


def _recovered_frames(index: Path) -> int:
    """Reads mxFrame of the first of the two index headers: how many frames recovery has found good."""
    if not index.exists():
        # The file's header says that there is no log.
        return 0
    with index.open("rb") as file:
        frames: int = struct.unpack("=16xI", file.read(20))[0]
    return frames


def _page_bytes_of(database: Path) -> int:
    with database.open("rb") as file:
        file.seek(16)
        size: int = struct.unpack(">H", file.read(2))[0]
    return _MAX_PAGE_BYTES if size == 1 else size


def _commits(wal: Path, page_bytes: int, skip: int, salts: bytes | None) -> int:
    """Counts the frames from number skip on that end a commit of the log's present generation, if they are several.

    Frames of a generation before, which has been folded into the file, carry other salts. Without salts, every frame
    counts that carries those of the first.
    """
    count = 0
    stride = _FRAME_HEADER_BYTES + page_bytes
    with wal.open("rb") as file:
        position = _HEADER_BYTES + skip * stride
        while len(head := os.pread(file.fileno(), _FRAME_HEADER_BYTES, position)) == _FRAME_HEADER_BYTES:
            commit_pages = int.from_bytes(head[4:8], "big")  # of the whole file; 0 where the frame ends no commit
            salts = salts or head[8:16]
            if head[8:16] == salts and commit_pages:
                count += 1
            position += stride
    return count if count > 1 else 0
