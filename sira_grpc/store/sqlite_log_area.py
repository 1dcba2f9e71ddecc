"""What the writer's thread does to the logs: it numbers the frames, and forgets them by moving the first offset."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sira_grpc.clock import Clock
from sira_grpc.errors import Conflict
from sira_grpc.store.conflicts import next_conflict
from sira_grpc.store.sqlite_bulk import insert
from sira_grpc.store.sqlite_checksum import checksum
from sira_grpc.store.sqlite_garbage import Garbage
from sira_grpc.store.sqlite_writer import Job

OFFSET_BITS = 40
"""A frame's row number is its partition's number, shifted by this, plus its offset."""


@dataclass(slots=True, eq=False)
class AppendJob(Job[int]):
    """An append of frames to a partition."""

    partition: str
    frames: tuple[bytes, ...]
    expected: int | None


@dataclass(slots=True, eq=False)
class TrimJob(Job[None]):
    """A trim of a partition below an offset."""

    partition: str
    before: int


@dataclass(slots=True, eq=False)
class DeletePartitionJob(Job[None]):
    """A deletion of a partition."""

    partition: str


@dataclass(slots=True)
class Partition:
    """A partition: its number, its first offset, the one after its last, and when its last frame was appended."""

    number: int
    first: int
    next: int
    time_ns: int

    @property
    def base(self) -> int:
        """The row number of offset 0."""
        return self.number << OFFSET_BITS


def load_partition(db: sqlite3.Connection, name: str) -> Partition | None:
    """Reads a partition; None if it is not there.

    An append writes only its frames: `next` follows from the last of them, or from the row if all are forgotten.
    """
    row = db.execute(
        "SELECT p.id, p.first, p.next, p.crc, f.id, coalesce(f.time_ns, 0) FROM log_partition p LEFT JOIN log_frame f "
        f"ON f.id = (SELECT max(id) FROM log_frame WHERE id < (p.id + 1) << {OFFSET_BITS}) "
        f"AND f.id >= p.id << {OFFSET_BITS} WHERE p.name = ?",
        (name,),
    ).fetchone()
    if row is None:
        return None
    number, first, following, crc, last, time_ns = row
    if checksum(b"", name, number, first, following) != crc:
        raise ValueError(f"the log {name}")
    if last is not None:
        following = max(following, last - (number << OFFSET_BITS) + 1)
    return Partition(number, first, following, time_ns)


class LogArea:
    """The logs as the writer's thread sees them."""

    def __init__(self, clock: Clock, garbage: Garbage) -> None:
        self._clock = clock
        self._garbage = garbage
        self._partitions: dict[str, Partition] = {}

    def write(self, db: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> None:
        """See Area. Frames of appends that follow one another are inserted together."""
        now = self._clock.time_ns()
        values: list[Any] = []
        for job in jobs:
            if isinstance(job, AppendJob):
                job.outcome = self._append(db, job, now, values)
                continue
            _insert(db, values)
            values.clear()
            if isinstance(job, TrimJob):
                self._trim(db, job)
            elif isinstance(job, DeletePartitionJob):
                self._delete(db, job)
        _insert(db, values)

    def forget(self) -> None:
        """See Area."""
        self._partitions.clear()

    def _append(self, db: sqlite3.Connection, job: AppendJob, now: int, values: list[Any]) -> int | Conflict:
        partition = self._load(db, job.partition)
        offset = partition.next if partition else 0
        if job.expected not in {None, offset}:
            return next_conflict(job.partition, job.expected, offset)
        partition = partition or self._create(db, job.partition)
        partition.time_ns = time_ns = max(now, partition.time_ns)
        for row, data in enumerate(job.frames, partition.base + offset):
            values += (row, time_ns, checksum(data, row, time_ns), data)
        partition.next += len(job.frames)
        return offset

    def _trim(self, db: sqlite3.Connection, job: TrimJob) -> None:
        partition = self._load(db, job.partition)
        if partition is None:
            return
        first = min(job.before, partition.next)
        if first > partition.first:
            self._garbage.add(db, "log_frame", partition.base + partition.first, partition.base + first)
            partition.first = first
            crc = checksum(b"", job.partition, partition.number, first, partition.next)
            db.execute(
                "UPDATE log_partition SET first = ?, next = ?, crc = ? WHERE id = ?",
                (first, partition.next, crc, partition.number),
            )

    def _delete(self, db: sqlite3.Connection, job: DeletePartitionJob) -> None:
        partition = self._load(db, job.partition)
        if partition is not None:
            self._garbage.add(db, "log_frame", partition.base + partition.first, partition.base + partition.next)
            db.execute("DELETE FROM log_partition WHERE id = ?", (partition.number,))
            del self._partitions[job.partition]

    def _load(self, db: sqlite3.Connection, name: str) -> Partition | None:
        partition = self._partitions.get(name) or load_partition(db, name)
        if partition is not None:
            self._partitions[name] = partition
        return partition

    def _create(self, db: sqlite3.Connection, name: str) -> Partition:
        number = db.execute("INSERT INTO log_partition (name, first, next, crc) VALUES (?, 0, 0, 0)", (name,)).lastrowid
        assert number is not None, "an INSERT has a row number"
        crc = checksum(b"", name, number, 0, 0)
        db.execute("UPDATE log_partition SET crc = ? WHERE id = ?", (crc, number))
        partition = self._partitions[name] = Partition(number, 0, 0, 0)
        return partition


def _insert(db: sqlite3.Connection, values: Sequence[Any]) -> None:
    insert(db, "INSERT INTO log_frame", 4, values)
