"""The logs: append-only partitions of frames."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from sira_grpc.store.api import Frame, LogRange
from sira_grpc.store.sqlite_bulk import Source, read_page
from sira_grpc.store.sqlite_checksum import checksum
from sira_grpc.store.sqlite_errors import corrupt
from sira_grpc.store.sqlite_log_area import (
    AppendJob,
    DeletePartitionJob,
    LogArea,
    Partition,
    TrimJob,
    load_partition,
)
from sira_grpc.store.sqlite_readers import Readers, one_moment
from sira_grpc.store.sqlite_writer import GroupWriter
from sira_grpc.store.validation import OP_OVERHEAD_BYTES, check_frames, check_key

MAX_READ_BYTES = 64 << 20
"""A read returns no more than this at once, whatever it is asked for, unless one frame is larger."""

_SOURCE = Source("log_frame", number="id", extra="time_ns")


class SqliteLog:
    """Implements LogStore."""

    def __init__(self, path: Path, writer: GroupWriter, readers: Readers, area: LogArea) -> None:
        self._path = path
        self._writer = writer
        self._readers = readers
        self._area = area

    async def append(self, partition: str, frames: Sequence[bytes], *, expected: int | None = None) -> int:
        """See LogStore."""
        size = check_frames(partition, frames, expected)
        return await self._writer.submit(AppendJob(self._area, size, partition, tuple(frames), expected))

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        """See LogStore."""
        check_key(partition, "partition")
        if max_frames < 1:
            raise ValueError(f"max_frames is {max_frames}: must be at least 1")
        max_bytes = min(max_bytes, MAX_READ_BYTES)
        return await self._readers.run(
            lambda db: _read(db, self._path, partition, offset, max_frames=max_frames, max_bytes=max_bytes)
        )

    async def range(self, partition: str) -> LogRange:
        """See LogStore."""
        check_key(partition, "partition")
        found = await self._readers.run(lambda db: load_partition(db, partition))
        return LogRange(found.first, found.next) if found else LogRange(0, 0)

    async def offset_at(self, partition: str, time_ns: int) -> int:
        """See LogStore."""
        check_key(partition, "partition")
        return await self._readers.run(lambda db: _offset_at(db, self._path, partition, time_ns))

    async def trim(self, partition: str, before: int) -> None:
        """See LogStore."""
        check_key(partition, "partition")
        await self._writer.submit(TrimJob(self._area, OP_OVERHEAD_BYTES, partition, before))

    async def delete_partition(self, partition: str) -> None:
        """See LogStore."""
        check_key(partition, "partition")
        await self._writer.submit(DeletePartitionJob(self._area, OP_OVERHEAD_BYTES, partition))


def _read(
    db: sqlite3.Connection, path: Path, name: str, offset: int, *, max_frames: int, max_bytes: int
) -> Sequence[Frame]:
    with one_moment(db):
        partition = load_partition(db, name)
        if partition is None or offset >= partition.next:
            return ()
        start = max(offset, partition.first)
        bounds = (partition.base + start, partition.base + partition.next)
        rows = read_page(db, _SOURCE, "id >= ? AND id < ?", bounds, max_rows=max_frames, max_bytes=max_bytes)
    frames = []
    for expected, (number, time_ns, crc, data) in enumerate(rows, bounds[0]):
        row = int(number)
        if row != expected or checksum(data, row, time_ns) != crc:
            raise _damaged(path, name, expected - partition.base)
        frames.append(Frame(row - partition.base, time_ns, data))
    if not frames and start < partition.next:
        raise _damaged(path, name, start)
    return frames


def _offset_at(db: sqlite3.Connection, path: Path, name: str, time_ns: int) -> int:
    """Searches by halving: times never go back from one offset to the next."""
    with one_moment(db):
        partition = load_partition(db, name)
        if partition is None:
            return 0
        low, high = partition.first, partition.next
        while low < high:
            middle = (low + high) // 2
            if _time_of(db, path, name, partition, middle) < time_ns:
                low = middle + 1
            else:
                high = middle
        return low


def _time_of(db: sqlite3.Connection, path: Path, name: str, partition: Partition, offset: int) -> int:
    row = db.execute("SELECT time_ns FROM log_frame WHERE id = ?", (partition.base + offset,)).fetchone()
    if row is None:
        raise _damaged(path, name, offset)
    time_ns: int = row[0]
    return time_ns


def _damaged(path: Path, name: str, offset: int) -> Exception:
    return corrupt(path, f"the frame at offset {offset} of the log {name}")
