"""What consumers of a subscription hand out: single records, or batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from sira_client.bus.batch import Batch
from sira_client.bus.consumer import Consumer, ConsumerOptions
from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.feed import Feed
from sira_client.bus.record import Record
from sira_client.clock import Clock

PAUSE_RECORDS = 256
"""Records that are handed out before whatever else the event loop has to do gets its turn."""
_EXPIRED = "its TTL ran out before the consumer came to it"


class RecordConsumer(Consumer[Record]):
    """Yields records one by one. See Consumer.

    Args:
        feed: begins to deliver frames.
        clock: of the client.
        options: how records are consumed.
    """

    def __init__(self, feed: Callable[[], Feed], clock: Clock, options: ConsumerOptions) -> None:
        super().__init__(feed)
        self._clock = clock
        self._sync = options.sync_acks
        self._limit = options.concurrency
        self._in_hand = 0
        self._left = asyncio.Event()
        self._since_pause = 0

    async def _items(self, feed: Feed) -> AsyncGenerator[Record, None]:
        sync = self._sync
        try:
            while (found := await feed.next()) is not None:
                frame, positions = found
                if self._limit is not None:
                    frame.left = self._leave
                consumed = 0
                for number, position in enumerate(positions):
                    if self._since_pause >= PAUSE_RECORDS:
                        frame.consume(number - consumed)
                        consumed = number
                        await self._pause()
                    if self._limit is not None:
                        await self._wait_for_turn(self._limit)
                    if self._to_hand_out(frame, position):
                        yield Record(frame, position, sync)
                frame.consume(len(positions) - consumed, last=True)
        finally:
            await self._iteration_ended()

    async def _pause(self) -> None:
        self._since_pause = 0
        await asyncio.sleep(0)

    def _to_hand_out(self, frame: DeliveredFrame, position: int) -> bool:
        """Whether a record is still to be handed out; if so, it counts as such."""
        if frame.lost or not frame.is_open(position):
            return False
        frame.handed = position + 1
        if frame.perishable and frame.expired(position, self._clock.time_ns()):
            frame.give_back([position], _EXPIRED)
            return False
        self._since_pause += 1
        self._in_hand += 1
        return True

    async def _wait_for_turn(self, limit: int) -> None:
        while self._in_hand >= limit:
            self._left.clear()
            await self._left.wait()

    def _leave(self) -> None:
        self._in_hand -= 1
        self._left.set()


class BatchConsumer(Consumer[Batch]):
    """Yields the records of one frame at a time. See Consumer and RecordConsumer."""

    def __init__(self, feed: Callable[[], Feed], clock: Clock, options: ConsumerOptions) -> None:
        super().__init__(feed)
        self._clock = clock
        self._sync = options.sync_acks

    async def _items(self, feed: Feed) -> AsyncGenerator[Batch, None]:
        try:
            while (found := await feed.next()) is not None:
                frame, positions = found
                frame.consume(len(positions), last=True)
                frame.handed = frame.count
                if frame.perishable:
                    now_ns = self._clock.time_ns()
                    frame.give_back([p for p in frame.open_among(positions) if frame.expired(p, now_ns)], _EXPIRED)
                if positions := frame.open_among(positions):
                    yield Batch(frame, positions, self._sync)
        finally:
            await self._iteration_ended()
