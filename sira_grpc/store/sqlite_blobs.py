"""The blobs: content-addressed bytes, in chunks."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from pathlib import Path

from sira_grpc.store.rechunking import rechunked
from sira_grpc.store.sqlite_blob_area import (
    AbandonJob,
    BeginJob,
    BlobArea,
    ChunkJob,
    DeleteBlobJob,
    FinishJob,
    chunk_row,
)
from sira_grpc.store.sqlite_checksum import checksum
from sira_grpc.store.sqlite_errors import corrupt
from sira_grpc.store.sqlite_readers import Readers
from sira_grpc.store.sqlite_writer import GroupWriter
from sira_grpc.store.validation import OP_OVERHEAD_BYTES, is_digest


class SqliteBlobs:
    """Implements BlobStore."""

    def __init__(self, path: Path, writer: GroupWriter, readers: Readers, area: BlobArea) -> None:
        self._path = path
        self._writer = writer
        self._readers = readers
        self._area = area

    async def put_blob(self, chunks: AsyncIterator[bytes]) -> str:
        """See BlobStore."""
        blob = await self._writer.submit(BeginJob(self._area, OP_OVERHEAD_BYTES))
        sha256 = hashlib.sha256()
        count = 0
        try:
            async for chunk in rechunked(chunks):
                sha256.update(chunk)
                await self._writer.submit(ChunkJob(self._area, len(chunk), blob, count, chunk))
                count += 1
            digest = sha256.hexdigest()
            await self._writer.submit(FinishJob(self._area, OP_OVERHEAD_BYTES, blob, digest, count))
        except BaseException:
            self._writer.post(AbandonJob(self._area, 0, blob))
            raise
        return digest

    async def get_blob(self, digest: str) -> AsyncGenerator[bytes, None]:
        """See BlobStore."""
        found = await self._find(digest)
        if found is None:
            raise KeyError(digest)
        blob, count = found
        sha256 = hashlib.sha256()
        for index in range(count):
            chunk = await self._readers.run(
                partial(_read_chunk, path=self._path, digest=digest, blob=blob, index=index)
            )
            sha256.update(chunk)
            yield chunk
        if sha256.hexdigest() != digest:
            raise corrupt(self._path, f"the blob {digest}")

    async def has_blob(self, digest: str) -> bool:
        """See BlobStore."""
        return await self._find(digest) is not None

    async def delete_blob(self, digest: str) -> None:
        """See BlobStore."""
        if is_digest(digest):
            await self._writer.submit(DeleteBlobJob(self._area, OP_OVERHEAD_BYTES, digest))

    async def _find(self, digest: str) -> tuple[int, int] | None:
        """Returns a blob's number and how many chunks it has."""
        if not is_digest(digest):
            return None
        return await self._readers.run(lambda db: _find(db, digest))


def _find(db: sqlite3.Connection, digest: str) -> tuple[int, int] | None:
    found: tuple[int, int] | None = db.execute("SELECT id, chunks FROM blob WHERE digest = ?", (digest,)).fetchone()
    return found


def _read_chunk(db: sqlite3.Connection, path: Path, digest: str, blob: int, index: int) -> bytes:
    row = chunk_row(blob, index)
    found = db.execute(
        "SELECT c.crc, c.data FROM blob b LEFT JOIN blob_chunk c ON c.id = ? WHERE b.id = ?", (row, blob)
    ).fetchone()
    if found is None:  # deleted while it was being read
        raise KeyError(digest)
    crc, data = found
    if data is None or checksum(data, row) != crc:
        raise corrupt(path, f"chunk {index} of the blob {digest}")
    return bytes(data)
