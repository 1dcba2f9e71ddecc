"""A store that is put together from one for the state, one for logs and one for blobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from sira_grpc.store.api import BlobStore, Commit, Entry, Frame, LogRange, LogStore, Op, Snapshot, StateStore


class ComposedStore:
    """Implements StateStore, LogStore and BlobStore by handing on. What is about the whole is for subclasses to add."""

    def __init__(self, state: StateStore, log: LogStore, blobs: BlobStore) -> None:
        self._state = state
        self._log = log
        self._blobs = blobs

    @property
    def revision(self) -> int:
        """See StateStore."""
        return self._state.revision

    @property
    def compacted(self) -> int:
        """See StateStore."""
        return self._state.compacted

    async def commit(self, ops: Sequence[Op]) -> int:
        """See StateStore."""
        return await self._state.commit(ops)

    async def get(self, key: str) -> Entry | None:
        """See StateStore."""
        return await self._state.get(key)

    async def sync(self) -> int:
        """See StateStore."""
        return await self._state.sync()

    async def snapshot(self, prefix: str) -> Snapshot:
        """See StateStore."""
        return await self._state.snapshot(prefix)

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Commit, None]:
        """See StateStore."""
        return self._state.watch(prefix, after=after)

    async def compact(self, revision: int) -> None:
        """See StateStore."""
        await self._state.compact(revision)

    async def append(self, partition: str, frames: Sequence[bytes], *, expected: int | None = None) -> int:
        """See LogStore."""
        return await self._log.append(partition, frames, expected=expected)

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        """See LogStore."""
        return await self._log.read(partition, offset, max_frames=max_frames, max_bytes=max_bytes)

    async def range(self, partition: str) -> LogRange:
        """See LogStore."""
        return await self._log.range(partition)

    async def offset_at(self, partition: str, time_ns: int) -> int:
        """See LogStore."""
        return await self._log.offset_at(partition, time_ns)

    async def trim(self, partition: str, before: int) -> None:
        """See LogStore."""
        await self._log.trim(partition, before)

    async def delete_partition(self, partition: str) -> None:
        """See LogStore."""
        await self._log.delete_partition(partition)

    async def put_blob(self, chunks: AsyncIterator[bytes]) -> str:
        """See BlobStore."""
        return await self._blobs.put_blob(chunks)

    def get_blob(self, digest: str) -> AsyncGenerator[bytes, None]:
        """See BlobStore."""
        return self._blobs.get_blob(digest)

    async def has_blob(self, digest: str) -> bool:
        """See BlobStore."""
        return await self._blobs.has_blob(digest)

    async def delete_blob(self, digest: str) -> None:
        """See BlobStore."""
        await self._blobs.delete_blob(digest)
