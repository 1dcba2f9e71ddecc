"""Which records of each partition are dead letters, removed ones included, as the log of dead letters says."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left

from sira_grpc.bus.dead_letter_log import DeadLetterLog


class _Places:
    """Dead letters of one partition: their ids, in order, and the offsets of their records."""

    __slots__ = ("ids", "offsets")

    def __init__(self) -> None:
        self.ids = array("q")
        self.offsets = array("q")

    def add(self, dead: int, offset: int) -> None:
        """Adds the next one."""
        self.ids.append(dead)
        self.offsets.append(offset)

    def extend(self, later: _Places) -> None:
        """Adds those that follow."""
        self.ids.extend(later.ids)
        self.offsets.extend(later.offsets)

    def forget(self, before: int) -> None:
        """Drops those below an id."""
        gone = bisect_left(self.ids, before)
        del self.ids[:gone], self.offsets[:gone]


class DeadLetterIndex:
    """An index of the log, over the ids that were asked for. It takes 16 bytes for each dead letter that is in it.

    When a subscription is opened, each of its partitions asks: one scan answers all of them.

    Args:
        log: see DeadLetterLog.
    """

    def __init__(self, log: DeadLetterLog) -> None:
        self._log = log
        self._first = self._end = log.next
        self._by_log: dict[str, _Places] = {}
        self._scanning = asyncio.Lock()

    async def of(self, log: str, since: int) -> list[tuple[int, int]]:
        """Returns the dead letters from an id on whose records are of a partition, by its log: id and offset, in order.

        One that cannot be read is not among them.
        """
        since = max(since, self._log.first)
        async with self._scanning:
            if since < self._first:
                earlier = await self._scan(since, self._first)
                for name, places in self._by_log.items():
                    earlier.setdefault(name, _Places()).extend(places)
                self._by_log, self._first = earlier, since
            end = self._log.next
            for name, places in (await self._scan(self._end, end)).items():
                self._by_log.setdefault(name, _Places()).extend(places)
            self._end = end
        found = self._by_log.get(log, _Places())
        start = bisect_left(found.ids, since)
        return list(zip(found.ids[start:], found.offsets[start:], strict=True))

    async def _scan(self, first: int, end: int) -> dict[str, _Places]:
        found: dict[str, _Places] = {}
        while first < end:
            letters = await self._log.read(first, end)
            if not letters:
                break
            for letter in letters:
                if letter.log:
                    found.setdefault(letter.log, _Places()).add(letter.id, letter.offset)
            first = letters[-1].id + 1
        return found

    def forget(self, before: int) -> None:
        """Drops those below an id: they have been trimmed."""
        for name in tuple(self._by_log):
            places = self._by_log[name]
            places.forget(before)
            if not places.ids:
                del self._by_log[name]
