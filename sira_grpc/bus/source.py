"""A partition as a subscription reads it: what is settled, what is with consumers, and what comes next."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from sira_grpc.bus import names
from sira_grpc.bus.delivery import Deliveries, Outcome, Retry, RetryRule
from sira_grpc.bus.ordered_deliveries import OrderedDeliveries
from sira_grpc.bus.parcel import Parcel
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.queue_deliveries import QueueDeliveries
from sira_grpc.bus.settings import SubscriptionSettings
from sira_grpc.bus.settlements import Settlements
from sira_grpc.bus.spans import Spans
from sira_grpc.bus.stored import Held
from sira_grpc.clock import Clock

OFFERED_AT_ONCE = 10_000
"""Records that are read on in one go: other partitions have a turn in between."""
MAX_RETRYING = 200_000
"""Records of a partition that wait for another delivery; with more, nothing new is delivered."""


class Source:
    """One partition of one subscription.

    Args:
        partition: what is read.
        subscription_uid: of the subscription: frames that are for another one are passed over.
        settings: returns the subscription's settings as they are now.
        clock, rng: for deadlines and delays.

    Attributes:
        machine: where each record is. Replaced by a seek.
        settlements: what is durable of it.
        handing_over: held while records are taken for a consumer, read and sent. What consumers say of records waits
            for it: nothing that was taken before must come after the answer.
        burying: held while dead letters are written, and while the machine is replaced.
        unnoted: numbers from which on there are dead letters of it that settlements do not know of yet.
        lost: records that retention took before they were settled.
    """

    def __init__(
        self,
        partition: Partition,
        subscription_uid: str,
        settings: Callable[[], SubscriptionSettings],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.partition = partition
        self.subscription_uid = subscription_uid
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self.handing_over = asyncio.Lock()
        self.burying = asyncio.Lock()
        self.unnoted: list[int] = []
        self.lost = 0
        self.machine: Deliveries = self._machine(Spans(), ())
        name = names.settlements_of(subscription_uid, partition.topic_uid, partition.number)
        self.settlements = Settlements(partition.logs, name, clock, self._sum_up)
        self._ahead: Sequence[Held] = ()

    def _machine(self, settled: Spans, retries: Sequence[Retry]) -> Deliveries:
        settings = self._settings()
        kind = OrderedDeliveries if settings.ordered else QueueDeliveries
        return kind(
            self.rule(), rng=self._rng, settled=settled, retries=retries, max_outstanding=settings.max_outstanding
        )

    def rule(self) -> RetryRule:
        """Returns the rule of retries as it is now."""
        settings = self._settings()
        return RetryRule(settings.max_deliveries, settings.min_backoff, settings.max_backoff)

    def _sum_up(self) -> tuple[Spans, Sequence[Retry]]:
        return self.machine.settled, self.machine.retry_spans(self._clock.monotonic())

    async def open(self, start: int, dead_letters: int) -> int:
        """Takes up where it was left, or begins anew. Returns up to which dead letter is known what it settled.

        Args:
            start: the offset to begin at.
            dead_letters: how many there were so far. Where a partition in memory begins anew with the kernel, they are
                of another one.
        """
        recovered = await self.settlements.load()
        if recovered.steps:
            self.machine = self._machine(recovered.settled, recovered.retries)
            return recovered.dead_letters
        self.machine = self._machine(Spans(min(start, self.partition.end)), ())
        known = dead_letters if self.partition.settings.in_memory else 0
        await self.settlements.restart(dead_letters=known)
        return known

    def restart(self, offset: int) -> None:
        """Forgets what was settled: everything below an offset is, and nothing else."""
        self.machine = self._machine(Spans(offset), ())
        self._ahead = ()

    def update(self) -> None:
        """Takes over changed settings."""
        self.machine.rule = self.rule()
        self.machine.max_outstanding = self._settings().max_outstanding

    @property
    def lag(self) -> int:
        """Records that are kept and not settled."""
        partition, settled = self.partition, self.machine.settled
        return max(0, partition.end - partition.first - settled.count(partition.first, partition.end))

    def ready(self, now: float) -> bool:
        """Whether something could be delivered now, or read on."""
        return self.machine.ready(now) or self._can_read_on()

    def _can_read_on(self) -> bool:
        machine = self.machine
        return machine.next < self.partition.end and machine.room() > 0 and machine.retrying < MAX_RETRYING

    async def read_on(self) -> Outcome:
        """Offers what follows to the machine, some thousand records at most, unless enough is on offer.

        Returns what was settled by that: records that are not there any more.
        """
        outcome = Outcome()
        machine, partition = self.machine, self.partition
        if machine.next < partition.first:
            skipped = machine.skip(machine.next, partition.first)
            self.lost += sum(end - first for first, end in skipped.settled)
            outcome.settled += skipped.settled
        if not self._can_read_on():
            return outcome
        if not self._settings().ordered:
            machine.offer(machine.next, min(partition.end, machine.next + OFFERED_AT_ONCE))
            return outcome
        stop = machine.next + OFFERED_AT_ONCE
        while machine is self.machine and machine.next < min(partition.end, stop) and machine.room() > 0:
            held = await self.frame(machine.next)
            if machine is not self.machine or held is None:
                break
            if held.base > machine.next:
                outcome.settled += machine.skip(machine.next, held.base).settled
            self._offer_keyed(machine, held, outcome)
        return outcome

    @staticmethod
    def _offer_keyed(machine: Deliveries, held: Held, outcome: Outcome) -> None:
        if held.broken:
            machine.offer(machine.next, held.end)
            return
        keys = held.reader.keys or [b""] * held.count
        for place in range(held.count):
            offset = held.offset_of(place)
            if offset < machine.next:
                continue
            if offset > machine.next:  # compacted away
                outcome.settled += machine.skip(machine.next, offset).settled
            if held.offsets:
                machine.offer(offset, offset + 1, keys[place : place + 1])
            else:
                machine.offer(offset, held.end, keys[place:])
                return

    async def frame(self, offset: int) -> Held | None:
        """Returns the first frame that ends after an offset; None if there is none."""
        for held in self._ahead:
            if held.base <= offset < held.end:
                return held
        frames = await self.partition.read(offset)
        self._ahead = frames
        return frames[0] if frames else None

    async def gather(self, consumer: int, records: int, now: float) -> tuple[list[Parcel], Outcome]:
        """Takes records for a consumer, by frames, and settles those that are not there any more."""
        machine = self.machine
        parcels: list[Parcel] = []
        outcome = Outcome()
        for taken in machine.take(consumer, records, now, self._settings().ack_timeout):
            position = taken.first
            while position < taken.end:
                held = await self.frame(position)
                start = taken.end if held is None else min(max(held.base, position), taken.end)
                if start > position:
                    outcome.settled += machine.ack(consumer, position, start).settled
                if held is None or start == taken.end:
                    break
                position = min(held.end, taken.end)
                _pack(parcels, held, taken.attempt, start, position)
        for parcel in parcels:
            parcel.spans.sort()  # what came back is taken in the order in which it came due
        return parcels, outcome

    def left_out(self, held: Held) -> Sequence[int]:
        """Returns the places of the records in a frame that must not be delivered any more."""
        if held.only_for and held.only_for != self.subscription_uid:
            return range(held.count)
        return held.expired(self._clock.time_ns())


def _pack(parcels: list[Parcel], held: Held, attempt: int, first: int, end: int) -> None:
    if parcels and parcels[-1].held is held and parcels[-1].attempt == attempt:
        parcels[-1].spans.append((first, end))
    else:
        parcels.append(Parcel(held, attempt, [(first, end)]))
