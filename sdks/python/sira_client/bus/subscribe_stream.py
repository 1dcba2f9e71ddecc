"""One Subscribe stream, from its first request to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc
from sira.bus.v1.subscription_pb2 import SubscriptionMode
from sira.bus.v1.subscription_service_pb2 import (
    Credit,
    Delivery,
    Opened,
    OpenSubscription,
    Settled,
    SubscribeRequest,
    SubscribeResponse,
)
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

from sira_client.bus.barred_keys import BarredKeys
from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.ranges import ranges_of
from sira_client.bus.settling import Round, Settler
from sira_client.errors import DataLossError, SiraError, UnavailableError, from_rpc_error
from sira_client.first_of import drop
from sira_client.frames import checksum
from sira_client.link import Member
from sira_client.settings import Settings

_log = logging.getLogger(__name__)

_ORDERED = SubscriptionMode.SUBSCRIPTION_MODE_ORDERED
_TICKS = 4
"""How often in an ack_timeout it is looked for records to extend: those that came before the last look are."""

Deliver = Callable[[DeliveredFrame, Sequence[int]], None]

_Call = grpc.aio.StreamStreamCall[SubscribeRequest, SubscribeResponse]


@dataclass(frozen=True, slots=True)
class Window:
    """What may be delivered and not handed out yet.

    Attributes:
        records: how many.
        bytes: of their frames. The last frame may go beyond.
    """

    records: int
    bytes: int


class SubscribeStream:
    """Gets records within a window, sends what has become of them, and asks for more time for those that it holds.

    Attributes:
        settler: takes what has become of records.
        member: whom it is open to.
        opened: whether the kernel has answered.
        damage: what came that was not what the kernel sent; None if all is well.

    Args:
        member: whom to open it to.
        settings: of the client.
        opening: the first request.
        window: what may be delivered in advance.
        lease: how long, in seconds, records are extended at most.
        deliver: takes what comes, and which positions of it are to be handed out.
    """

    def __init__(
        self,
        member: Member,
        settings: Settings,
        opening: OpenSubscription,
        window: Window,
        lease: float,
        deliver: Deliver,
    ) -> None:
        self.member = member
        self.opened = False
        self._settings = settings
        self._opening = opening
        self._window = window
        self._lease = lease
        self._deliver = deliver
        self._answered = asyncio.Event()
        self._news = asyncio.Event()
        self.settler = Settler(self._news)
        self._records, self._bytes = window.records, window.bytes
        self._serial = 0
        self._tick = 0
        self._live: dict[DeliveredFrame, None] = {}
        self._ordered = False
        self._barred = BarredKeys(deliver, lambda records: self.consume(records, 0))
        self._retiring = self._finishing = False
        self.damage: DataLossError | None = None
        self._extending: asyncio.Task[None] | None = None

    def consume(self, records: int, size: int) -> None:
        """What was handed out makes room for more: so many records, and bytes of frames."""
        self._records += records
        self._bytes += size
        if self._credit_due():
            self._news.set()

    def retire(self) -> None:
        """Asks for no more records, and finishes when those that are here are settled."""
        self._retiring = True
        if not self._live:
            self.finish()

    def finish(self) -> None:
        """Ends the stream in good order: settles what was said, and gives the rest back."""
        self._finishing = True
        self._news.set()

    async def run(self) -> SiraError | None:
        """Keeps the stream until it ends. Returns why it was lost; None if it was finished."""
        call: _Call = self.member.carrying(SubscriptionServiceStub(self.member.channel).Subscribe())
        writing = asyncio.create_task(self._write(call))
        try:
            while isinstance(response := await call.read(), SubscribeResponse):
                self._take(response)
            if self.damage is not None:
                return self.damage
            return None if self._finishing else UnavailableError("the kernel ended the stream")
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure)
        finally:
            self._end()
            await drop(writing, *filter(None, [self._extending]))
            call.cancel()

    def released(self, frame: DeliveredFrame) -> None:
        """See Holder."""
        self._live.pop(frame, None)
        if self._retiring and not self._live:
            self.finish()

    def gave_back(self, frame: DeliveredFrame, positions: Sequence[int], round_: Round) -> None:
        """See Holder. In order, what follows a record of the same key is taken back with it."""
        if not self._ordered or not frame.reader.keys:
            return
        firsts: dict[bytes, int] = {}
        lasts: dict[bytes, int] = {}
        for position in positions:
            if key := frame.reader.key(frame.index(position)):
                lasts[key] = frame.offset(position)
                firsts.setdefault(key, lasts[key])
        for held in list(self._live):
            if held.topic == frame.topic and held.partition == frame.partition:
                self._take_back_after(held, firsts, lasts if held.serial >= frame.serial else {})
        for key, offset in lasts.items():
            self._barred.bar(frame.topic, frame.partition, key, offset, round_)

    @staticmethod
    def _take_back_after(frame: DeliveredFrame, firsts: Mapping[bytes, int], lasts: dict[bytes, int]) -> None:
        """Takes back what follows the first record of each key that was given back, and notes which came last."""
        for position in range(frame.count):
            key, offset = frame.reader.key(frame.index(position)), frame.offset(position)
            if key in firsts:
                lasts[key] = offset
                if offset > firsts[key]:
                    frame.take_back(position)

    def _take(self, response: SubscribeResponse) -> None:
        match response.WhichOneof("event"):
            case "delivery":
                self._take_delivery(response.delivery)
            case "settled":
                self._take_settled(response.settled)
            case "opened":
                self._take_opened(response.opened)

    def _take_opened(self, opened: Opened) -> None:
        self.opened = True
        self._answered.set()
        self._ordered = opened.mode == _ORDERED
        if opened.HasField("ack_timeout") and self._extending is None:
            self._extending = asyncio.create_task(self._extend(opened.ack_timeout.ToNanoseconds() / 1e9))

    def _take_delivery(self, delivery: Delivery) -> None:
        if self._finishing:
            return
        self._serial += 1
        if checksum(delivery.frame) != delivery.checksum:
            self._refuse(delivery, "the checksum of the frame does not match")
            return
        try:
            frame = DeliveredFrame(delivery, self, serial=self._serial, arrived_ns=self._settings.clock.time_ns())
        except ValueError as error:
            self._refuse(delivery, str(error))
            return
        frame.tick = self._tick
        self._live[frame] = None
        self._deliver(frame, self._barred.admit(frame))

    def _refuse(self, delivery: Delivery, detail: str) -> None:
        """Gives a delivery back that came damaged, and goes on over another stream. How many records it had is not
        known for sure: with the stream everything else goes back too.
        """
        self.damage = DataLossError(
            f"{delivery.topic}/{delivery.partition}@{delivery.base_offset} is damaged: {detail}"
        )
        _log.warning("a frame is not handed out: %s", self.damage)
        if delivery.attempt:
            first = delivery.offsets[0] if delivery.offsets else delivery.base_offset
            first = delivery.ranges[0].first if delivery.ranges else first
            self.settler.nak(delivery.topic, delivery.partition, ranges_of([first]), None, detail)
        self.finish()

    def _take_settled(self, settled: Settled) -> None:
        finished = self.settler.settled(settled)
        if finished is None:
            return
        for stale in finished.stale:
            for frame in list(self._live):
                if (frame.topic, frame.partition) == (stale.topic, stale.partition) and frame.serial <= finished.serial:
                    for position in frame.positions_of(stale.range.first, stale.range.end):
                        frame.take_back(position)
        self._barred.answered(finished)

    def _credit_due(self) -> bool:
        """Whether half of the window has been used up."""
        window = self._window
        return not self._retiring and (self._records * 2 >= window.records or self._bytes * 2 >= window.bytes)

    async def _write(self, call: _Call) -> None:
        try:
            await call.write(SubscribeRequest(open=self._opening))
            # gRPC hides the status of a call that ends while something is written to it: a refusal is to be seen.
            await self._answered.wait()
            while not (self._finishing and self.settler.idle):
                if self._credit_due() and not self._finishing:
                    credit = Credit(records=self._records, bytes=self._bytes)
                    self._records = self._bytes = 0
                    await call.write(SubscribeRequest(credit=credit))
                elif (settle := self.settler.next(self._serial)) is not None:
                    await call.write(SubscribeRequest(settle=settle))
                else:
                    self._news.clear()
                    await self._news.wait()
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            _log.debug("the stream was over: %s", error)  # whoever reads is told why

    async def _extend(self, ack_timeout: float) -> None:
        """Asks for more time for whatever is held, between a quarter and a half of the timeout after it came."""
        most = max(1, round(self._lease * _TICKS / ack_timeout))
        while True:
            await self._settings.clock.sleep(ack_timeout / _TICKS)
            for frame in list(self._live):
                if frame.tick == self._tick:
                    continue
                frame.ticks += 1
                if frame.ticks < most:
                    if positions := frame.open_positions():
                        frame.extend(positions, None)
                elif frame.ticks == most:
                    frame.give_back(frame.open_positions(frame.handed), "the consumer did not come to it")
            self._tick += 1

    def _end(self) -> None:
        """Whatever is not settled is not with this consumer any more."""
        for frame in self._live:
            frame.lost = True
        self._live.clear()
        self.settler.lose()
