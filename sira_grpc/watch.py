"""A revisioned change feed: what changed since when, and subscribers that follow it in bounded memory.

A subscriber is nothing but a position. What it has not seen yet is looked up when it is ready for it, so a slow one
costs no more memory than a quick one, and gets the latest state of what changed in between, once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from sira_grpc.errors import RevisionAhead, RevisionCompacted

TOMBSTONES = 1024
"""Deleted items that a feed remembers, for those who resume."""


class ChangeFeed:
    """The items of one set with the revision of each one's last change.

    Args:
        compacted: changes up to this revision are not known of: who is behind it must begin with a snapshot.
        revision: the last change so far.
        tombstones: how many deleted items are remembered.
    """

    def __init__(self, *, compacted: int, revision: int, tombstones: int = TOMBSTONES) -> None:
        self.compacted = compacted
        self.revision = revision
        self._limit = tombstones
        self._changed: dict[str, int] = {}  # ordered by revision: a change moves its item to the end
        self._dead: deque[tuple[str, int]] = deque()
        self._subscribers: set[Subscriber] = set()
        self._barriers: list[Barrier] = []
        self.published_at = 0.0
        self.closed = False

    @property
    def subscribers(self) -> int:
        """How many follow the feed."""
        return len(self._subscribers)

    def behind(self) -> int:
        """Counts those that have not seen everything. May be called from any thread."""
        revision = self.revision
        return sum(subscriber.position < revision for subscriber in tuple(self._subscribers))

    def touch(self, item: str, revision: int) -> None:
        """Notes that an item was written. A revision below the one that is noted already changes nothing of it."""
        revision = max(self._changed.pop(item, 0), revision)
        self._changed[item] = revision
        self.revision = max(self.revision, revision)

    def bury(self, item: str, revision: int) -> None:
        """Notes that an item was deleted. The oldest tombstones beyond the limit are forgotten."""
        self.touch(item, revision)
        self._dead.append((item, revision))
        while len(self._dead) > self._limit:
            old, at = self._dead.popleft()
            if self._changed.get(old) == at:
                del self._changed[old]
                self.compacted = max(self.compacted, at)

    def settle(self) -> None:
        """Puts items that were noted out of order, as a snapshot gives them, in the order of their revisions."""
        self._changed = dict(sorted(self._changed.items(), key=lambda item: item[1]))
        self._dead = deque(sorted(self._dead, key=lambda item: item[1]))

    def since(self, revision: int) -> Iterator[str]:
        """Yields the items written or deleted after a revision, the latest first.

        Raises:
            RevisionCompacted: deletions after the revision may have been forgotten.
        """
        if revision < self.compacted:
            raise RevisionCompacted(
                f"start_revision {revision}: changes up to {self.compacted} are compacted; start again from 0",
                metadata={"compacted": str(self.compacted)},
            )
        for item, at in reversed(self._changed.items()):
            if at <= revision:
                return
            yield item

    def subscribe(self, position: int) -> Subscriber:
        """Adds a subscriber that has seen everything up to a position."""
        subscriber = Subscriber(self, position)
        self._subscribers.add(subscriber)
        return subscriber

    def publish(self, now: float) -> None:
        """Wakes every subscriber that waits. `now` is the time on the monotonic clock."""
        self.published_at = now
        for subscriber in self._subscribers:
            subscriber.wake()

    def close(self) -> None:
        """Ends the feed: subscribers wake and find it closed."""
        self.closed = True
        for subscriber in self._subscribers:
            subscriber.wake()

    def barrier(self, revision: int) -> Barrier:
        """Returns a barrier that opens once every present subscriber has seen a revision or has left."""
        pending = {s for s in self._subscribers if s.position < revision}
        barrier = Barrier(revision, pending, notified=len(self._subscribers) - len(pending))
        if not barrier.opened.is_set():
            self._barriers.append(barrier)
        return barrier

    def drop(self, barrier: Barrier) -> None:
        """Forgets a barrier that nobody waits for any more."""
        if barrier in self._barriers:
            self._barriers.remove(barrier)

    def _advanced(self, subscriber: Subscriber) -> None:
        for barrier in self._barriers:
            barrier.passed(subscriber)
        self._barriers = [b for b in self._barriers if not b.opened.is_set()]

    def _left(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)
        for barrier in self._barriers:
            barrier.left(subscriber)
        self._barriers = [b for b in self._barriers if not b.opened.is_set()]


class Subscriber:
    """A position in a feed. Used by one task."""

    __slots__ = ("_feed", "_waiter", "position")

    def __init__(self, feed: ChangeFeed, position: int) -> None:
        self._feed = feed
        self._waiter: asyncio.Future[None] | None = None
        self.position = position

    @property
    def behind(self) -> bool:
        """Whether there is something that it has not seen."""
        return self.position < self._feed.revision

    async def wait(self) -> None:
        """Returns when there is something new, or the feed is closed."""
        if self.behind or self._feed.closed:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Ends a wait."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def sent(self, revision: int) -> None:
        """Notes that everything up to a revision has been handed to the reader's transport."""
        self.position = revision
        if self._feed._barriers:  # noqa: SLF001 - the two classes are one mechanism; this test is on the hot path
            self._feed._advanced(self)  # noqa: SLF001 - as above

    def close(self) -> None:
        """Leaves the feed."""
        self._feed._left(self)  # noqa: SLF001 - as above


class Barrier:
    """Waits for subscribers to pass a revision."""

    def __init__(self, revision: int, pending: set[Subscriber], *, notified: int) -> None:
        self.revision = revision
        self.notified = notified
        self.opened = asyncio.Event()
        self._pending = pending
        self._open_if_done()

    @property
    def pending(self) -> int:
        """Subscribers that have neither passed nor left."""
        return len(self._pending)

    def passed(self, subscriber: Subscriber) -> None:
        """Notes that a subscriber advanced."""
        if subscriber in self._pending and subscriber.position >= self.revision:
            self._pending.discard(subscriber)
            self.notified += 1
            self._open_if_done()

    def left(self, subscriber: Subscriber) -> None:
        """Notes that a subscriber left."""
        self._pending.discard(subscriber)
        self._open_if_done()

    def _open_if_done(self) -> None:
        if not self._pending:
            self.opened.set()


def check_start(start: int, current: int) -> None:
    """Refuses a revision to go on from that is ahead of what there is.

    Raises:
        RevisionAhead: the store was restored or replaced since the reader saw that revision.
    """
    if start > current:
        raise RevisionAhead(
            f"start_revision {start} is ahead of the store, which is at {current}; start again from 0",
            metadata={"revision": str(current)},
        )
