"""A consumer of a subscription over a raw stream: it acks most, and does to the rest what makes trouble."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from grpc import aio
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira.bus.v1.topic_pb2 import Durability
from sira_client.frames import FrameReader, checksum

from tests.integration.bus_kernel import ended, subscription_name
from tests.integration.bus_ledger import Account, Sent, name_in
from tests.integration.bus_life import Life
from tests.integration.bus_tail import places_of

CREDIT_RECORDS = 200
CREDIT_BYTES = 1 << 20
DEFERRED = 0.3
"""How often settlements wait for the next delivery, to be sent with its own."""
MERGED = 0.7
"""How often ranges that touch are sent as one."""


class Act(Enum):
    """What is done with a record that was delivered."""

    ACK = auto()
    NAK = auto()
    EXTEND = auto()
    """It is kept for longer, then acknowledged."""
    LAPSE = auto()
    """Nothing: its time runs out."""
    TERMINATE = auto()


class End(Enum):
    """How a consumer leaves."""

    HALF_CLOSE = auto()
    CANCEL = auto()
    DISCONNECT = auto()


@dataclass(slots=True, eq=False)
class Delivered:
    """A record that was delivered, and what is done with it.

    Attributes:
        suspect: see Account.delivered.
        delay_ms: what a NAK says of when it is to come again; None for nothing.
    """

    record: Sent
    offset: int
    attempt: int
    suspect: bool = False
    act: Act = Act.ACK
    delay_ms: int | None = None


Decide = Callable[[Delivered, Life], Act]
Settled = Callable[[Delivered, Life], None]


def mostly_ack(rng: random.Random) -> Decide:
    """Acks all but a few records, and in the last life all of them."""
    others = (Act.NAK, Act.NAK, Act.LAPSE, Act.EXTEND)

    def decide(delivered: Delivered, life: Life) -> Act:
        delivered.delay_ms = rng.choice((None, None, 0, 20))
        return rng.choice(others) if rng.random() < 0.12 and not life.draining else Act.ACK

    return decide


class Consumer:
    """One consumer, over one stream after the other, each with a connection of its own.

    Args:
        account: of its subscription.
        rng: chooses.
        decide: says what to do with a record.
        settled: told of each record that the kernel says to have settled as it was told; for acks the account is.
        stay: how many messages a stream takes at most before it is left; 0 for as long as the kernel lives.
        credit: records that a stream may be ahead of it.
    """

    def __init__(
        self,
        account: Account,
        rng: random.Random,
        decide: Decide,
        *,
        settled: Settled | None = None,
        stay: int = 0,
        credit: int = CREDIT_RECORDS,
    ) -> None:
        self._account = account
        self._rng = rng
        self._decide = decide
        self._settled = settled
        self._stay = stay
        self._credit = credit

    async def run(self, life: Life) -> None:
        """Consumes until the kernel is gone, or it is cancelled."""
        while True:
            async with life.kernel.connect() as channel:
                await self._run_stream(channel, life)

    async def _run_stream(self, channel: aio.Channel, life: Life) -> None:
        stub: Any = SubscriptionServiceStub(channel)
        stream = _Stream(stub.Subscribe(), self._account, self._rng, self._decide, self._settled)
        left = self._rng.randint(1, self._stay) if self._stay else -1
        await stream.open(self._credit)
        while left != 0 and await stream.step(life):
            left -= 1
        end = self._rng.choice(tuple(End))
        if end is End.HALF_CLOSE:
            await stream.half_close(life)
        elif end is End.CANCEL:
            stream.call.cancel()
        # Otherwise the connection is closed under it.


class _Stream:
    """One stream, and what was said on it.

    In ordered mode, records of a key that follow one that was given back were on their way. They are given back too,
    until that one comes again, or the kernel has answered. Those that follow one whose time runs out are let run out.
    """

    def __init__(
        self, call: Any, account: Account, rng: random.Random, decide: Decide, settled: Settled | None
    ) -> None:
        self.call = call
        self._account = account
        self._ledger = account.ledger
        self._rng = rng
        self._decide = decide
        self._told = settled
        self._waiting: list[Delivered] = []  # to be settled
        self._unanswered: deque[list[Delivered]] = deque()
        # By key: the first offset that was given back, or is kept too long, and what was given back last.
        self._barred: dict[bytes, tuple[int, Delivered]] = {}

    async def open(self, records: int) -> None:
        opening = pb.OpenSubscription(subscription=subscription_name(self._account.name))
        await self.call.write(pb.SubscribeRequest(open=opening))
        credit = pb.Credit(records=records, bytes=CREDIT_BYTES)
        await self.call.write(pb.SubscribeRequest(credit=credit))

    async def step(self, life: Life) -> bool:
        """Takes one message; False if the stream has ended."""
        response = await self.call.read()
        if response is aio.EOF:
            raise await ended(self.call)
        if response.HasField("delivery"):
            await self._deliver(response.delivery, life)
        elif response.HasField("settled"):
            self._answered(response.settled, life)
        return True

    async def half_close(self, life: Life) -> None:
        """Says no more, and hears the answers. What is delivered meanwhile is none of its business any more."""
        await self.call.done_writing()
        while (response := await self.call.read()) is not aio.EOF:
            if response.HasField("settled") and self._unanswered:
                self._answered(response.settled, life)
        assert not self._unanswered

    async def _deliver(self, delivery: pb.Delivery, life: Life) -> None:
        assert checksum(delivery.frame) == delivery.checksum
        reader = FrameReader(delivery.frame)
        count = 0
        for index, offset in places_of(delivery):
            count += 1
            record = self._ledger.records[name_in(reader.payload(index))]
            assert record.key == reader.key(index)
            assert record.partition == delivery.partition
            delivered = Delivered(record, offset, delivery.attempt)
            if not self._is_barred(delivered):
                self._take(delivered, life)
        credit = pb.Credit(records=count, bytes=len(delivery.frame))
        await self.call.write(pb.SubscribeRequest(credit=credit))
        if self._waiting and (life.draining or self._rng.random() >= DEFERRED):
            await self._settle()

    def _take(self, delivered: Delivered, life: Life) -> None:
        record = delivered.record
        life.seen("delivered")
        delivered.suspect = self._account.delivered(record, delivered.offset, life.number)
        delivered.act = Act.ACK if delivered.suspect else self._decide(delivered, life)
        if delivered.act in (Act.ACK, Act.EXTEND):
            self._account.acked(record)
        elif self._account.ordered and delivered.act is not Act.TERMINATE:
            self._barred[record.key] = delivered.offset, delivered
        if delivered.act is not Act.LAPSE:
            self._waiting.append(delivered)

    def _is_barred(self, delivered: Delivered) -> bool:
        key = delivered.record.key
        if key not in self._barred:
            return False
        first, last = self._barred[key]
        if delivered.offset <= first:
            del self._barred[key]
            return False
        if last.act is Act.NAK:
            delivered.act = Act.NAK
            self._barred[key] = first, delivered
            self._waiting.append(delivered)
        return True

    async def _settle(self) -> None:
        settling, self._waiting = self._waiting, []
        self._unanswered.append(settling)
        settlements = [each for act, run in _runs(settling) for each in self._settlements(act, run)]
        await self.call.write(pb.SubscribeRequest(settle=pb.Settle(settlements=settlements)))

    def _settlements(self, act: Act, run: Sequence[Delivered]) -> list[pb.Settlement]:
        settlement = pb.Settlement(topic=self._ledger.topic, partition=run[0].record.partition)
        for each in run:
            if settlement.ranges and settlement.ranges[-1].end == each.offset and self._rng.random() < MERGED:
                settlement.ranges[-1].end += 1
            else:
                settlement.ranges.add(first=each.offset, end=each.offset + 1)
        if act is Act.EXTEND:
            extended = pb.Settlement()
            extended.CopyFrom(settlement)
            extended.extend.timeout.FromMilliseconds(self._rng.randint(100, 1000))
            settlement.ack.SetInParent()
            return [extended, settlement]
        if act is Act.NAK:
            settlement.nak.detail = "not now"
            if run[0].delay_ms is not None:
                settlement.nak.delay.FromMilliseconds(run[0].delay_ms)
        elif act is Act.TERMINATE:
            settlement.terminate.detail = "never"
        else:
            settlement.ack.SetInParent()
        return [settlement]

    def _answered(self, settled: pb.Settled, life: Life) -> None:
        settling = self._unanswered.popleft()
        stale = {
            (each.partition, offset) for each in settled.stale for offset in range(each.range.first, each.range.end)
        }
        for delivered in settling:
            record = delivered.record
            if record.key in self._barred and self._barred[record.key][1] is delivered:
                del self._barred[record.key]
            if (record.partition, delivered.offset) in stale:
                self._account.findings.counts["stale"] += 1
                continue
            if delivered.act in (Act.ACK, Act.EXTEND) and settled.durability == Durability.DURABILITY_DISK:
                self._account.confirmed(record, delivered.offset, life.number, suspect=delivered.suspect)
            if self._told is not None:
                self._told(delivered, life)
            life.seen("settled")


def _runs(settling: Sequence[Delivered]) -> list[tuple[Act, list[Delivered]]]:
    """Groups what follows one another and can be said together."""
    runs: list[tuple[Act, list[Delivered]]] = []
    for delivered in settling:
        last = runs[-1] if runs else None
        if last is not None and last[0] is delivered.act and _alike(last[1][0], delivered):
            last[1].append(delivered)
        else:
            runs.append((delivered.act, [delivered]))
    return runs


def _alike(one: Delivered, other: Delivered) -> bool:
    return (one.record.partition, one.delay_ms) == (other.record.partition, other.delay_ms)
