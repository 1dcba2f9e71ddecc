"""The state: keys and values under one revision, which is a sequence of the state's stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from sira_grpc.errors import RevisionAhead
from sira_grpc.store.api import Commit, Entry, Op, Snapshot
from sira_grpc.store.nats_commits import Commits
from sira_grpc.store.nats_compaction import Compaction
from sira_grpc.store.nats_errors import Lost, unavailable
from sira_grpc.store.nats_feed import Feed
from sira_grpc.store.nats_gate import Gate
from sira_grpc.store.nats_mirror import Mirror
from sira_grpc.store.nats_sync import Sync
from sira_grpc.store.validation import check_key, check_ops, check_prefix

CATCH_UP_SECONDS = 5.0
"""How long a read waits for what has been acknowledged to this member already."""


class NatsState:
    """Implements StateStore."""

    def __init__(self, mirror: Mirror, feed: Feed, commits: Commits, compaction: Compaction, gate: Gate) -> None:
        self._mirror = mirror
        self._feed = feed
        self._commits = commits
        self._compaction = compaction
        self._gate = gate
        self._sync = Sync(lambda: gate.run(0, commits.sync))

    @property
    def revision(self) -> int:
        """See StateStore."""
        return self._mirror.revision

    @property
    def compacted(self) -> int:
        """See StateStore."""
        return self._mirror.mark.compacted

    async def commit(self, ops: Sequence[Op]) -> int:
        """See StateStore."""
        size = check_ops(ops)
        found = tuple(ops)
        return await self._gate.run(size, lambda: self._commits.commit(found))

    async def get(self, key: str) -> Entry | None:
        """See StateStore."""
        check_key(key)
        await self._own_writes()
        return self._mirror.get(key)

    async def sync(self) -> int:
        """See StateStore."""
        return await self._sync.sync()

    async def snapshot(self, prefix: str) -> Snapshot:
        """See StateStore."""
        check_prefix(prefix)
        await self._own_writes()
        return self._mirror.snapshot(prefix)

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Commit, None]:
        """See StateStore."""
        return self._feed.watch(prefix, after=after)

    async def compact(self, revision: int) -> None:
        """See StateStore."""
        self._gate.check()
        if revision > self.revision:
            raise RevisionAhead(
                f"revision {revision} is ahead of the store's {self.revision}",
                metadata={"revision": str(revision), "current": str(self.revision)},
            )
        await self._compaction.compact(revision, self._gate.deadline())

    async def _own_writes(self) -> None:
        self._gate.check_open()
        try:
            await self._mirror.reached(self._commits.acknowledged, CATCH_UP_SECONDS)
        except Lost as error:
            raise unavailable(str(error)) from error
