"""The commits as they happen: the newest of them in memory, and the watches that are fed from there and the history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from sira_grpc.errors import RevisionAhead, RevisionCompacted
from sira_grpc.store.api import Commit
from sira_grpc.store.sqlite_errors import closed, corrupt
from sira_grpc.store.sqlite_history import PAGE_BYTES, HistoryPage, below, read_history
from sira_grpc.store.sqlite_readers import Readers
from sira_grpc.store.validation import check_prefix


class Feed:
    """What the event loop knows of the state's revisions. Used only there."""

    def __init__(self, path: Path, readers: Readers, *, revision: int, compacted: int, ring_bytes: int) -> None:
        self.revision = revision
        self.compacted = compacted
        self._path = path
        self._readers = readers
        # Every commit after _floor up to _newest, by revision, with its size.
        self._ring: dict[int, tuple[Commit, int]] = {}
        self._ring_bytes = 0
        self._ring_limit = ring_bytes
        self._floor = self._newest = revision
        self._changed = asyncio.Event()
        self._closed = False

    def learn(self, revision: int) -> None:
        """Notes a durable revision that a reader has seen, maybe before the writer's word of it is here."""
        self.revision = max(self.revision, revision)

    def publish(self, commit: Commit, size: int) -> None:
        """Adds the next commit, of about size bytes. notify() then wakes the watches."""
        self._ring[commit.revision] = (commit, size)
        self._ring_bytes += size
        self._newest = commit.revision
        while self._ring_bytes > self._ring_limit:
            self._drop_oldest()
        self.learn(commit.revision)

    def compact(self, revision: int) -> None:
        """Notes that the history up to revision is gone."""
        self.compacted = max(self.compacted, revision)
        while self._ring and self._floor < self.compacted:
            self._drop_oldest()

    def notify(self) -> None:
        """Wakes the watches."""
        self._changed.set()
        self._changed.clear()

    def close(self) -> None:
        """Ends the watches once they have had what is in memory."""
        self._closed = True
        self.notify()

    async def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Commit, None]:
        """See StateStore.watch."""
        check_prefix(prefix)
        if after < 0:
            raise ValueError(f"after is {after}: a revision is not negative")
        if after > self.revision:
            raise RevisionAhead(
                f"revision {after} is ahead of the store's {self.revision}",
                metadata={"revision": str(after), "current": str(self.revision)},
            )
        if after < self.compacted:
            raise self._too_old(after)
        position = after
        while True:
            if position >= self._newest:
                if self._closed:
                    raise closed(self._path)
                await self._changed.wait()
                continue
            page = self._recent(prefix, position) if position >= self._floor else await self._older(prefix, position)
            for commit in page.commits:
                yield commit
            position = page.upto
            # A watch with much to catch up on lets the others have their turn.
            await asyncio.sleep(0)

    def _recent(self, prefix: str, after: int) -> HistoryPage:
        commits = []
        size = 0
        while after < self._newest and size < PAGE_BYTES:
            after += 1
            commit, commit_size = self._ring[after]
            size += commit_size
            if part := below(commit, prefix):
                commits.append(part)
        return HistoryPage(after, commits)

    async def _older(self, prefix: str, after: int) -> HistoryPage:
        page = await self._readers.run(lambda db: read_history(db, self._path, prefix, after))
        if page is None:
            raise self._too_old(after)
        if page.upto == after:
            raise corrupt(self._path, f"the history after revision {after} is missing")
        self.learn(page.upto)
        return page

    def _drop_oldest(self) -> None:
        self._floor += 1
        self._ring_bytes -= self._ring.pop(self._floor)[1]

    def _too_old(self, after: int) -> RevisionCompacted:
        return RevisionCompacted(
            f"the history after revision {after} has been compacted up to {self.compacted}",
            metadata={"revision": str(after), "compacted": str(self.compacted)},
        )
