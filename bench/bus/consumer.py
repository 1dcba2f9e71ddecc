"""A Subscribe stream that acknowledges every record: the consumer of every measurement of deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from grpc import aio
from sira.bus.v1.subscription_service_pb2 import (
    Ack,
    Credit,
    Delivery,
    OffsetRange,
    OpenSubscription,
    Settle,
    Settlement,
    SubscribeRequest,
)
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira_client.frames import FrameReader, checksum

from bench.bus import messages

CREDIT_RECORDS = 100_000
CREDIT_BYTES = 64 << 20
MAX_SETTLEMENTS = 1000
MAX_CREDIT_RECORDS = 1_000_000
MAX_CREDIT_BYTES = 1 << 30


class Consumer:
    """Reads a subscription record by record, and acknowledges each record, in ranges.

    It does so as the SDK does: what was handled while a Settle is under way goes together with the next one.

    Args:
        channel: of grpc.aio.
        subscription: without its namespace.
        handle: called with the payload of each record.

    Attributes:
        handled: records that were delivered.
        settled: records whose acknowledgement was confirmed.
        stale: ranges whose acknowledgement came too late.
    """

    def __init__(self, channel: Any, subscription: str, handle: Callable[[bytes], None]) -> None:
        self._call: Any = SubscriptionServiceStub(channel).Subscribe()
        self._subscription = messages.subscription(subscription)
        self._handle = handle
        self._under_way = 0
        self._gathered: list[Settlement] = []
        self._spent = Credit()
        self._changed = asyncio.Event()
        self.handled = 0
        self.settled = 0
        self.stale = 0

    async def __aenter__(self) -> Self:
        await open_stream(self._call, self._subscription, Credit(records=CREDIT_RECORDS, bytes=CREDIT_BYTES))
        answer = await self._call.read()
        if not answer.HasField("opened"):
            raise RuntimeError(f"a subscription was not opened: {answer}")
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def until_settled(self, count: int, seconds: float = 60) -> None:
        """Returns when so many records are settled, since the stream was opened.

        Raises:
            AioRpcError: the stream has failed.
            RuntimeError: more were settled, or acknowledgements came too late: some were delivered twice.
            TimeoutError: it took too long.
        """
        async with asyncio.timeout(seconds):
            while self.settled < count:
                if self._reader.done():
                    await self._reader
                    raise RuntimeError("the stream has ended")
                self._changed.clear()
                await self._changed.wait()
        if self.settled > count or self.stale:
            raise RuntimeError(f"{self.settled} of {count} records were settled, {self.stale} ranges too late")

    async def _read(self) -> None:
        try:
            while (response := await self._call.read()) is not aio.EOF:
                if response.HasField("delivery"):
                    await self._deliver(response.delivery)
                else:
                    self.settled += self._under_way
                    self._under_way = 0
                    self.stale += len(response.settled.stale)
                    self._changed.set()
                    await self._settle()
        finally:
            self._changed.set()

    async def _deliver(self, delivery: Delivery) -> None:
        """Handles each record that is meant for this consumer, acknowledges them, and now and then asks for more."""
        if checksum(delivery.frame) != delivery.checksum:
            raise RuntimeError(f"the frame at offset {delivery.base_offset} is not what was published")
        reader, base = FrameReader(delivery.frame), delivery.base_offset
        done = []
        for wanted in delivery.ranges or [OffsetRange(first=base, end=base + reader.count)]:
            for offset in range(wanted.first, wanted.end):
                self._handle(reader.payload(offset - base))
            done.append(OffsetRange(first=wanted.first, end=wanted.end))
        count = sum(each.end - each.first for each in done)
        self.handled += count
        self._gathered.append(Settlement(topic=delivery.topic, partition=delivery.partition, ranges=done, ack=Ack()))
        await self._settle()
        self._spent.records += count
        self._spent.bytes += len(delivery.frame)
        if self._spent.records >= CREDIT_RECORDS // 2 or self._spent.bytes >= CREDIT_BYTES // 2:
            await self._call.write(SubscribeRequest(credit=self._spent))
            self._spent = Credit()

    async def _settle(self) -> None:
        """Sends what was gathered, unless an answer is to come first."""
        if self._under_way or not self._gathered:
            return
        gathered, self._gathered = self._gathered[:MAX_SETTLEMENTS], self._gathered[MAX_SETTLEMENTS:]
        self._under_way = sum(each.end - each.first for settlement in gathered for each in settlement.ranges)
        await self._call.write(SubscribeRequest(settle=Settle(settlements=gathered)))


async def open_stream(call: Any, subscription: str, credit: Credit) -> None:
    """Opens a subscription and asks for records.

    Args:
        call: a Subscribe call.
        subscription: full name.
        credit: how much may come.
    """
    await call.write(SubscribeRequest(open=OpenSubscription(subscription=subscription, consumer="bench")))
    await call.write(SubscribeRequest(credit=credit))
