"""What one consumer of a subscription says, carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.subscription_pb2 import SubscriptionMode
from sira.bus.v1.subscription_service_pb2 import (
    OffsetRange,
    Opened,
    Settle,
    Settled,
    Settlement,
    StaleRange,
    SubscribeResponse,
)
from sira.bus.v1.topic_pb2 import Durability

from sira_grpc.bus.active_subscription import ActiveSubscription
from sira_grpc.bus.consumer import Consumer
from sira_grpc.bus.delivery import Outcome
from sira_grpc.bus.source import Source
from sira_grpc.clock import Clock
from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.store.budget import ByteBudget
from sira_grpc.times import duration, seconds

MAX_UNCONFIRMED = 1000
"""Settles of one stream that are not answered; then no more are read."""
UNCONFIRMED_BYTES = 1 << 20
"""Size of their answers, likewise. One may be larger."""
MAX_RANGES = 15_000
"""Ranges of one Settle: its answer, which may name each of them as stale, stays below what clients take, 4 MiB."""
RANGES_AT_ONCE = 1000
"""Ranges that are looked at, or carried out, without a pause, some 3 ms: others have a turn in between."""


class Session:
    """One stream of a subscription. The consumer joins when it is made, and leaves with `close`.

    Args:
        active: the subscription.
        consumer: the one at the other end.
        clock: for deadlines.
    """

    def __init__(self, active: ActiveSubscription, consumer: Consumer, clock: Clock) -> None:
        self._active = active
        self._consumer = consumer
        self._clock = clock
        self._unconfirmed: asyncio.Queue[tuple[list[asyncio.Future[None]], Settled, int] | None] = asyncio.Queue(
            MAX_UNCONFIRMED
        )
        self._budget = ByteBudget(UNCONFIRMED_BYTES)
        self._done_at_once = 0
        self._confirming = asyncio.create_task(self._confirm(), name="bus settled")
        settings = active.entry.settings
        mode = (
            SubscriptionMode.SUBSCRIPTION_MODE_ORDERED if settings.ordered else SubscriptionMode.SUBSCRIPTION_MODE_QUEUE
        )
        opened = Opened(ack_timeout=duration(settings.ack_timeout), mode=mode)
        consumer.send(SubscribeResponse(opened=opened).SerializeToString())
        active.join(consumer)

    async def settle(self, settle: Settle) -> None:
        """Carries settlements out; the answer follows when they are durable.

        Raises:
            InvalidField: a range ends before it begins.
        """
        if sum(len(settlement.ranges) for settlement in settle.settlements) > MAX_RANGES:
            rule = f"must have at most {MAX_RANGES:,} ranges together"
            raise InvalidField([FieldViolation("settle.settlements", rule)])
        for index, settlement in enumerate(settle.settlements):
            await self._check(settlement, f"settle.settlements[{index}]")
        waiting: list[asyncio.Future[None]] = []
        settled = Settled(durability=Durability.DURABILITY_DISK)
        for settlement in settle.settlements:
            for start in range(0, len(settlement.ranges), RANGES_AT_ONCE):
                ranges = settlement.ranges[start : start + RANGES_AT_ONCE]
                waiting += await self._settle_some(settlement, ranges, settled)
                await self._pause(len(ranges))
        self._active.wake()
        size = settled.ByteSize()
        await self._budget.take(size)
        await self._unconfirmed.put((waiting, settled, size))

    async def _check(self, settlement: Settlement, field: str) -> None:
        for place, each in enumerate(settlement.ranges):
            if each.end <= each.first:
                raise InvalidField([FieldViolation(f"{field}.ranges[{place}].end", "must be above first")])
        await self._pause(len(settlement.ranges))

    async def _pause(self, ranges: int) -> None:
        """Lets others have a turn, once enough was done since they had one."""
        self._done_at_once += ranges
        if self._done_at_once >= RANGES_AT_ONCE:
            self._done_at_once = 0
            await asyncio.sleep(0)

    async def _settle_some(
        self, settlement: Settlement, ranges: Sequence[OffsetRange], settled: Settled
    ) -> list[asyncio.Future[None]]:
        source = self._active.sources.get((settlement.topic, settlement.partition))
        if source is None:  # the topic was deleted
            settled.stale.extend(_stale(settlement, ranges))
            return []
        async with source.handing_over:
            outcome = self._carry_out(source, settlement, ranges)
        stale = [OffsetRange(first=first, end=end) for first, end in outcome.stale]
        settled.stale.extend(_stale(settlement, stale))
        if source.partition.settings.in_memory or outcome.held:
            settled.durability = Durability.DURABILITY_MEMORY
        return self._active.settling.carry_out(source, outcome)

    def _carry_out(self, source: Source, settlement: Settlement, ranges: Sequence[OffsetRange]) -> Outcome:
        total = Outcome()
        for each in ranges:
            outcome = self._carry_out_one(source, settlement, each.first, each.end)
            total.settled += outcome.settled
            total.retries += outcome.retries
            total.dead += outcome.dead
            total.stale += outcome.stale
            total.held += outcome.held
        total.held = [n for n in total.held if not any(first <= n < end for first, end in total.settled)]
        return total

    def _carry_out_one(self, source: Source, settlement: Settlement, first: int, end: int) -> Outcome:
        machine, number, now = source.machine, self._consumer.number, self._clock.monotonic()
        kind = settlement.WhichOneof("outcome")
        if kind == "ack":
            return machine.ack(number, first, end)
        if kind == "nak":
            nak = settlement.nak
            delay = seconds(nak.delay) if nak.HasField("delay") else None
            return machine.nak(number, first, end, now=now, delay=delay, detail=nak.detail)
        if kind == "terminate":
            return machine.terminate(number, first, end, detail=settlement.terminate.detail)
        timeout = settlement.extend.timeout
        given = settlement.extend.HasField("timeout")
        return machine.extend(number, first, end, now=now, timeout=self._timeout(timeout, given=given))

    def _timeout(self, timeout: Duration, *, given: bool) -> float:
        return seconds(timeout) if given else self._active.entry.settings.ack_timeout

    async def _confirm(self) -> None:
        """Answers each settle once it is durable, in order."""
        while (item := await self._unconfirmed.get()) is not None:
            waiting, settled, size = item
            try:
                await asyncio.gather(*waiting)
            except Exception as error:  # noqa: BLE001  it is what the stream ends with
                self._consumer.end(error)
                return
            await self._consumer.room()
            self._consumer.send(SubscribeResponse(settled=settled).SerializeToString())
            self._budget.give(size)

    async def finish(self) -> None:
        """The consumer says no more: answers everything, and once more at the end, and ends the stream.

        The last answer tells a consumer that has closed its side from one that is gone: that one does not get it.
        """
        self._consumer.stop()
        await self._unconfirmed.put(None)
        await self._confirming
        farewell = Settled(durability=Durability.DURABILITY_DISK)
        self._consumer.send(SubscribeResponse(settled=farewell).SerializeToString())
        self._consumer.end()

    async def close(self, *, counted: bool) -> None:
        """Takes back what the consumer has. `counted`: its deliveries were in vain."""
        self._active.leave(self._consumer, counted=counted)
        self._confirming.cancel()
        await asyncio.gather(self._confirming, return_exceptions=True)


def _stale(settlement: Settlement, ranges: Sequence[OffsetRange]) -> list[StaleRange]:
    return [StaleRange(topic=settlement.topic, partition=settlement.partition, range=each) for each in ranges]
