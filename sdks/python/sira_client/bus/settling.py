"""Gathers what has become of records, and keeps what the kernel answers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.subscription_service_pb2 import Ack, Extend, Nak, Settle, Settled, Settlement, StaleRange, Terminate

from sira_client.bus.ranges import Ranges

MAX_DETAIL = 1024
"""Characters that the kernel takes at most."""
_MAX_RANGES = 10_000
"""Ranges in a settlement, at most."""
_MAX_ENTRIES = 900
"""Settlements in a round: the kernel takes 1,000, and one with too many ranges is cut."""
_MAX_ADDED = 5_000
"""Ranges in a round, before the last settlement: the kernel takes 15,000, and one settlement may have 10,000."""

_Outcome = Ack | Nak | Extend | Terminate


class Round:
    """Settlements that go together.

    Attributes:
        serial: number of the last delivery that came before it was sent.
        done: whether it is answered, or never will be.
        lost: whether the stream ended before the answer came.
        stale: what was not with this consumer any more.
    """

    __slots__ = ("_acks", "_added", "_done", "_entries", "lost", "serial", "stale")

    def __init__(self) -> None:
        self.serial = 0
        self.lost = False
        self.stale: list[StaleRange] = []
        self._done = asyncio.Event()
        self._entries: list[tuple[str, int, Ranges, _Outcome]] = []
        self._acks: dict[tuple[str, int], Ranges] = {}
        self._added = 0

    @property
    def done(self) -> bool:
        """See the attributes of the class."""
        return self._done.is_set()

    @property
    def full(self) -> bool:
        """Whether the next settlement has to go into another round."""
        return self._added >= _MAX_ADDED or len(self._entries) >= _MAX_ENTRIES

    def ack(self, topic: str, partition: int, first: int, end: int) -> None:
        """Adds an ack. Those of one partition go as one."""
        ranges = self._acks.get((topic, partition))
        if ranges is None:
            ranges = self._acks[topic, partition] = Ranges()
            self._entries.append((topic, partition, ranges, Ack()))
        self._added += ranges.add(first, end)

    def add(self, topic: str, partition: int, ranges: Ranges, outcome: _Outcome) -> None:
        """Adds another outcome. Acks that come after it are carried out after it."""
        self._acks.clear()
        self._entries.append((topic, partition, ranges, outcome))
        self._added += len(ranges)

    def message(self) -> Settle:
        """The settlements, in their order."""
        return Settle(settlements=self._settlements())

    def _settlements(self) -> Iterator[Settlement]:
        for topic, partition, ranges, outcome in self._entries:
            merged = ranges.merged()
            for start in range(0, len(merged), _MAX_RANGES):
                settlement = Settlement(topic=topic, partition=partition, ranges=merged[start : start + _MAX_RANGES])
                match outcome:
                    case Ack():
                        settlement.ack.CopyFrom(outcome)
                    case Nak():
                        settlement.nak.CopyFrom(outcome)
                    case Extend():
                        settlement.extend.CopyFrom(outcome)
                    case Terminate():
                        settlement.terminate.CopyFrom(outcome)
                yield settlement

    def finish(self, *, lost: bool) -> None:
        """It is answered, or never will be."""
        self.lost = lost
        self._done.set()

    async def answered(self) -> None:
        """Waits for the answer, or until it is known that there is none."""
        await self._done.wait()

    def uncounted(self, topic: str, partition: int, offset: int) -> bool:
        """Whether what was said of that record did not count, as far as is known."""
        return self.lost or any(
            stale.topic == topic and stale.partition == partition and stale.range.first <= offset < stale.range.end
            for stale in self.stale
        )

    async def counted(self, topic: str, partition: int, offset: int) -> bool:
        """Waits for the answer. Whether what was said of that record counted."""
        await self._done.wait()
        return not self.uncounted(topic, partition, offset)


class Settler:
    """The settlements of one stream. One round is under way at a time; what comes meanwhile is the next one.

    Args:
        news: set when there is something to send.
    """

    def __init__(self, news: asyncio.Event) -> None:
        self._news = news
        self._rounds: deque[Round] = deque([Round()])
        self._begun = False
        self._under_way: Round | None = None
        self._lost = False

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, or waits."""
        return self._under_way is None and not self._begun

    def ack(self, topic: str, partition: int, first: int, end: int) -> Round:
        """The records from first to before end are done."""
        current = self._current()
        current.ack(topic, partition, first, end)
        return current

    def nak(self, topic: str, partition: int, ranges: Ranges, delay: Duration | None, detail: str) -> Round:
        """Gives records back. Without a delay the subscription's retry policy says when they come again."""
        return self._add(topic, partition, ranges, Nak(delay=delay, detail=detail[:MAX_DETAIL]))

    def extend(self, topic: str, partition: int, ranges: Ranges, timeout: Duration | None) -> Round:
        """Asks for more time. Without a timeout it is the subscription's ack_timeout."""
        return self._add(topic, partition, ranges, Extend(timeout=timeout))

    def terminate(self, topic: str, partition: int, ranges: Ranges, detail: str) -> Round:
        """Gives records up."""
        return self._add(topic, partition, ranges, Terminate(detail=detail[:MAX_DETAIL]))

    def next(self, serial: int) -> Settle | None:
        """What to send next; None if there is nothing, or a round is under way.

        Args:
            serial: number of the last delivery so far.
        """
        if self._under_way is not None or not self._begun:
            return None
        self._under_way = self._rounds.popleft()
        self._under_way.serial = serial
        if not self._rounds:
            self._rounds.append(Round())
            self._begun = False
        return self._under_way.message()

    def settled(self, answer: Settled) -> Round | None:
        """The round that is under way is answered. Returns it; None if there is none."""
        finished, self._under_way = self._under_way, None
        if finished is not None:
            finished.stale.extend(answer.stale)
            finished.finish(lost=False)
            self._news.set()
        return finished

    def lose(self) -> None:
        """The stream is over."""
        self._lost = True
        for left in (*self._rounds, *filter(None, [self._under_way])):
            left.finish(lost=True)

    def _add(self, topic: str, partition: int, ranges: Ranges, outcome: _Outcome) -> Round:
        current = self._current()
        current.add(topic, partition, ranges, outcome)
        return current

    def _current(self) -> Round:
        current = self._rounds[-1]
        if current.full:
            current = Round()
            self._rounds.append(current)
        if self._lost:
            current.finish(lost=True)
        self._begun = True
        self._news.set()
        return current
