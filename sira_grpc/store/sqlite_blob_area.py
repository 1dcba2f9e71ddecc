"""What the writer's thread does to the blobs: chunks under a number first, the digest when all are there."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sira_grpc.store.sqlite_checksum import checksum
from sira_grpc.store.sqlite_garbage import Garbage
from sira_grpc.store.sqlite_writer import Job

CHUNK_BITS = 24
"""A chunk's row number is its blob's number, shifted by this, plus its own."""


@dataclass(slots=True, eq=False)
class BeginJob(Job[int]):
    """Makes the number for a blob that is about to be stored. Until it is finished, nobody sees it."""


@dataclass(slots=True, eq=False)
class ChunkJob(Job[None]):
    """Stores one chunk of a blob."""

    blob: int
    index: int
    data: bytes


@dataclass(slots=True, eq=False)
class FinishJob(Job[None]):
    """Makes a blob visible under its digest; if another has come first, this one goes."""

    blob: int
    digest: str
    chunks: int


@dataclass(slots=True, eq=False)
class AbandonJob(Job[None]):
    """Gives up a blob that was begun."""

    blob: int


@dataclass(slots=True, eq=False)
class DeleteBlobJob(Job[None]):
    """Deletes the blob of a digest."""

    digest: str


def chunk_row(blob: int, index: int) -> int:
    """Returns the row number of a blob's chunk."""
    return (blob << CHUNK_BITS) + index


class BlobArea:
    """The blobs as the writer's thread sees them."""

    def __init__(self, garbage: Garbage) -> None:
        self._garbage = garbage

    def write(self, db: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> None:
        """See Area."""
        for job in jobs:
            match job:
                case BeginJob():
                    job.outcome = db.execute("INSERT INTO blob (chunks) VALUES (0)").lastrowid
                case ChunkJob():
                    row = chunk_row(job.blob, job.index)
                    values = (row, checksum(job.data, row), job.data)
                    db.execute("INSERT INTO blob_chunk VALUES (?, ?, ?)", values)
                case FinishJob():
                    self._finish(db, job)
                case AbandonJob():
                    # Once it is finished, it may be somebody else's too.
                    if db.execute("SELECT 1 FROM blob WHERE id = ? AND digest IS NULL", (job.blob,)).fetchone():
                        self._forget(db, job.blob)
                case DeleteBlobJob():
                    found = db.execute("SELECT id FROM blob WHERE digest = ?", (job.digest,)).fetchone()
                    if found:
                        self._forget(db, found[0])

    def forget(self) -> None:
        """See Area: it remembers nothing."""

    def discard_unfinished(self, db: sqlite3.Connection) -> None:
        """Forgets the blobs that were being stored when the last process ended. Within a transaction."""
        for (blob,) in db.execute("SELECT id FROM blob WHERE digest IS NULL").fetchall():
            self._forget(db, blob)

    def _finish(self, db: sqlite3.Connection, job: FinishJob) -> None:
        if db.execute("SELECT 1 FROM blob WHERE digest = ?", (job.digest,)).fetchone():
            self._forget(db, job.blob)
        else:
            db.execute("UPDATE blob SET digest = ?, chunks = ? WHERE id = ?", (job.digest, job.chunks, job.blob))

    def _forget(self, db: sqlite3.Connection, blob: int) -> None:
        db.execute("DELETE FROM blob WHERE id = ?", (blob,))
        self._garbage.add(db, "blob_chunk", chunk_row(blob, 0), chunk_row(blob + 1, 0))
