"""Brings the records of a subscription and its consumers together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from sira_grpc.bus.burying import CORRUPT
from sira_grpc.bus.consumer import Consumer
from sira_grpc.bus.delivery import Outcome
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.parcel import Parcel
from sira_grpc.bus.settling import Settling
from sira_grpc.bus.source import Source
from sira_grpc.clock import Clock
from sira_grpc.errors import SiraError

TAKEN_AT_ONCE = 4096
"""Records that a consumer is given in one go."""
LOOK_AGAIN_SECONDS = 1.0
"""After a failure of the store."""

log = logging.getLogger(__name__)


class Dispatcher:
    """The deliveries of one subscription.

    Args:
        name: of the subscription.
        sources, consumers: those that there are; they change.
        settling: takes what becomes of records.
        paused: whether nothing is to be delivered now.
        clock: for deadlines.
        metrics: counts.
    """

    def __init__(
        self,
        name: str,
        sources: Mapping[tuple[str, int], Source],
        consumers: Mapping[int, Consumer],
        settling: Settling,
        paused: Callable[[], bool],
        clock: Clock,
        metrics: BusMetrics,
    ) -> None:
        self._name = name
        self._sources = sources
        self._consumers = consumers
        self._settling = settling
        self._paused = paused
        self._clock = clock
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._turn = 0

    def wake(self) -> None:
        """Something has changed: there may be something to deliver."""
        self._wake.set()

    async def next_round(self) -> None:
        """Returns when something has changed, or is due."""
        dues = [due for source in self._sources.values() if (due := source.machine.due()) is not None]
        timeout = max(0.0, min(dues) - self._clock.monotonic()) if dues else None
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._wake.clear()

    async def round(self) -> None:
        """Takes back what is overdue, and delivers as long as there is something, and somebody who takes it."""
        try:
            self._expire()
            if not self._paused():
                await self._deliver()
        except SiraError as error:
            log.warning("%s: %s", self._name, error)
            asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self.wake)

    def _expire(self) -> None:
        now = self._clock.monotonic()
        for source in self._sources.values():
            due = source.machine.due()
            if due is not None and due <= now:
                self._settling.carry_out(source, source.machine.expire(now))

    async def _deliver(self) -> None:
        idle = 0
        while not self._paused():
            sources = tuple(self._sources.values())
            ready = [consumer for consumer in self._consumers.values() if consumer.ready]
            if not ready or idle >= len(sources):
                return
            self._turn += 1
            if await self._deliver_from(sources[self._turn % len(sources)], ready):
                idle = 0
                await asyncio.sleep(0)  # so that settlements come in between
            else:
                idle += 1

    async def _deliver_from(self, source: Source, consumers: Sequence[Consumer]) -> bool:
        now = self._clock.monotonic()
        if not source.ready(now):
            return False
        self._settling.carry_out(source, await source.read_on())
        delivered = False
        for place in range(len(consumers)):
            consumer = consumers[(self._turn + place) % len(consumers)]
            if consumer.ready and source.machine.ready(now, consumer.number):
                async with source.handing_over:
                    delivered = await self._hand_over(source, consumer, now) or delivered
        return delivered

    async def _hand_over(self, source: Source, consumer: Consumer, now: float) -> bool:
        machine = source.machine
        parcels, outcome = await source.gather(consumer.number, min(consumer.records, TAKEN_AT_ONCE), now)
        self._settling.carry_out(source, outcome)
        here = machine is source.machine and consumer.number in self._consumers
        kept = 0
        while here and kept < len(parcels) and consumer.ready and not (kept and _better_whole(parcels[kept], consumer)):
            self._send(source, consumer, parcels[kept])
            kept += 1
        # From the first one that is not sent on: in ordered mode, what follows it must not overtake it.
        for parcel in parcels[kept:]:
            for first, end in parcel.spans:
                machine.untake(consumer.number, first, end)
        return kept > 0 or bool(outcome.settled)

    def _send(self, source: Source, consumer: Consumer, parcel: Parcel) -> None:
        """Sends a parcel, without what must not be delivered any more."""
        if parcel.held.broken:
            self._give_up(source, consumer, parcel)
            return
        left_out = source.left_out(parcel.held)
        if left_out or parcel.held.offsets:
            places = parcel.places(left_out)
            self._skip_others(source, consumer, parcel, places)
            if not places:
                return
        message, records, size = parcel.message(source.partition, left_out)
        consumer.deliver(message, records, size)
        self._metrics.delivered(parcel, records, size, self._clock.time_ns())

    def _give_up(self, source: Source, consumer: Consumer, parcel: Parcel) -> None:
        outcome = Outcome()
        for first, end in parcel.spans:
            dead = source.machine.terminate(
                consumer.number, first, end, detail="what is stored is not what was published"
            ).dead
            outcome.dead += [each._replace(reason=CORRUPT) for each in dead]
        self._settling.carry_out(source, outcome)

    def _skip_others(self, source: Source, consumer: Consumer, parcel: Parcel, places: Sequence[int]) -> None:
        """Settles the records of a parcel that are left out, or not there any more."""
        there = {parcel.held.offset_of(place) for place in places}
        outcome = Outcome()
        for first, end in parcel.spans:
            for offset in range(first, end):
                if offset not in there:
                    outcome.settled += source.machine.ack(consumer.number, offset, offset + 1).settled
        self._settling.carry_out(source, outcome)


def _better_whole(parcel: Parcel, consumer: Consumer) -> bool:
    """Whether a frame was cut off only by how much was taken at once: then it is sent whole the next time."""
    return parcel.spans[-1][1] < parcel.held.end and consumer.records >= parcel.held.count
