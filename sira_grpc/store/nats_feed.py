"""The commits as the mirror meets them: the newest in memory, older ones read from the stream, and the watches on both.

Every commit after what is compacted is in the stream, whole, and sequences have no gaps there. So a watch that reads
the stream and meets a gap has been overtaken by a compaction.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress

from sira_grpc.errors import RevisionAhead, RevisionCompacted
from sira_grpc.store.api import Commit
from sira_grpc.store.nats_assembly import Assembly, commit_of
from sira_grpc.store.nats_errors import Lost, Refused, closed, corrupt
from sira_grpc.store.nats_mirror import Mirror
from sira_grpc.store.nats_reader import Stored
from sira_grpc.store.nats_tail import RETRY_SECONDS, Tail
from sira_grpc.store.validation import OP_OVERHEAD_BYTES, check_prefix

PAGE_BYTES = 1 << 20
PAGE_MESSAGES = 512
PAGE_COMMITS = 512
_TRIM = 1024


class Feed:
    """Used in the event loop alone.

    Attributes:
        noted: called with each commit.
    """

    def __init__(self, mirror: Mirror, tail: Tail, *, ring_bytes: int) -> None:
        self.noted: Callable[[Commit], None] = lambda commit: None
        self._mirror = mirror
        self._tail = tail
        self._limit = ring_bytes
        # Every commit after _floor, in order; the first _gone of them are forgotten.
        self._revisions: list[int] = []
        self._commits: list[Commit | None] = []
        self._sizes: list[int] = []
        self._gone = 0
        self._bytes = 0
        self._floor = 0
        self._changed = asyncio.Event()
        self._closed = False
        mirror.committed = self._add
        mirror.reloaded = self._reset

    @property
    def compacted(self) -> int:
        """The revision up to which the history has been forgotten."""
        return self._mirror.mark.compacted

    def close(self) -> None:
        """Ends the watches."""
        self._closed = True
        self._notify()

    async def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Commit, None]:
        """See StateStore.watch."""
        check_prefix(prefix)
        self._check_start(after)
        position = after
        while True:
            if position >= self._newest:
                if self._closed:
                    raise closed()
                await self._changed.wait()
                continue
            if position >= self._floor:
                position, commits = self._recent(position)
            else:
                position, commits = await self._older(position)
            for commit in commits:
                if part := below(commit, prefix):
                    yield part
            # A watch with much to catch up on lets the others have their turn.
            await asyncio.sleep(0)

    def _check_start(self, after: int) -> None:
        if after < 0:
            raise ValueError(f"after is {after}: a revision is not negative")
        if self._closed:
            raise closed()
        if after > self._mirror.position:
            raise RevisionAhead(
                f"revision {after} is ahead of the store's {self._mirror.position}",
                metadata={"revision": str(after), "current": str(self._mirror.position)},
            )
        if after < self.compacted:
            raise self._too_old(after)

    @property
    def _newest(self) -> int:
        return self._revisions[-1] if self._gone < len(self._revisions) else self._floor

    def _add(self, commit: Commit) -> None:
        size = sum(len(change.value or b"") + len(change.key) + OP_OVERHEAD_BYTES for change in commit.changes)
        self._revisions.append(commit.revision)
        self._commits.append(commit)
        self._sizes.append(size)
        self._bytes += size
        while self._bytes > self._limit:
            self._drop()
        self.noted(commit)
        self._notify()

    def _drop(self) -> None:
        self._floor = self._revisions[self._gone]
        self._bytes -= self._sizes[self._gone]
        self._commits[self._gone] = None
        self._gone += 1
        if self._gone >= _TRIM:
            del self._revisions[: self._gone], self._commits[: self._gone], self._sizes[: self._gone]
            self._gone = 0

    def _reset(self) -> None:
        self._revisions.clear()
        self._commits.clear()
        self._sizes.clear()
        self._gone = self._bytes = 0
        self._floor = self._mirror.position
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed.clear()

    def _recent(self, after: int) -> tuple[int, Sequence[Commit]]:
        first = bisect_right(self._revisions, after, lo=self._gone)
        commits = []
        size = 0
        for number in range(first, len(self._revisions)):
            commit = self._commits[number]
            assert commit is not None, "only those before _gone are forgotten"
            commits.append(commit)
            after = commit.revision
            size += self._sizes[number]
            if size >= PAGE_BYTES or len(commits) >= PAGE_COMMITS:
                break
        return after, commits

    async def _older(self, after: int) -> tuple[int, Sequence[Commit]]:
        """Reads on from the stream: at least one whole commit, unless what follows changes nothing."""
        assembly = Assembly()
        commits: list[Commit] = []
        position, done, whole = after, after, True
        while True:
            for one in await self._read(position + 1):
                if one.sequence > self._mirror.position:
                    break  # a replica may be ahead of this member
                if one.sequence != position + 1 or after < self.compacted:
                    raise self._too_old(after)
                part = await self._tail.part(one.sequence, one.subject, one.payload)
                if part is None:
                    raise corrupt(f"the history at {one.sequence}")
                if position == after and whole and part.message.place > 1:
                    # It begins amid a commit, which is to be seen whole.
                    position, whole = after - part.message.place + 1, False
                    break
                position = one.sequence
                if parts := assembly.add(part):
                    done = position
                    if commit := commit_of(parts):
                        commits.append(commit)
            if done > after:
                return done, commits

    async def _read(self, sequence: int) -> Sequence[Stored]:
        """Reads messages that are there, whichever replica has them, for as long as it takes."""
        reader = self._tail.reader
        while True:
            if self._closed:
                raise closed()
            with suppress(Lost, Refused):
                found = await reader.run(sequence, max_messages=PAGE_MESSAGES, max_bytes=PAGE_BYTES)
                if not found and (sure := await reader.at(sequence)):
                    found = [sure]
                if found:
                    return found
                if sequence <= self.compacted:
                    raise self._too_old(sequence - 1)
            await asyncio.sleep(RETRY_SECONDS)

    def _too_old(self, after: int) -> RevisionCompacted:
        return RevisionCompacted(
            f"the history after revision {after} has been compacted up to {self.compacted}",
            metadata={"revision": str(after), "compacted": str(self.compacted)},
        )


def below(commit: Commit, prefix: str) -> Commit | None:
    """Returns the part of a commit below a prefix, None if there is none."""
    changes = tuple(change for change in commit.changes if change.key.startswith(prefix))
    if len(changes) == len(commit.changes):
        return commit
    return Commit(commit.revision, changes) if changes else None
