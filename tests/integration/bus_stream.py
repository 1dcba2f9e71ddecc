"""Streams of the bus, message by message, as a client in any language has them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc
from google.protobuf.message import Message
from grpc import aio
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishFramesResponse
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira_client.frames import FrameReader, checksum

from tests.integration.registry_kernel import Running, reason_of

PATIENCE = 20
"""Seconds after which a test gives up on a message."""
BYTES = 1 << 30
"""Credit that no test uses up."""


class _Stream:
    """A stream to and fro. At the end of the block it is cancelled, if it is still there."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call.cancel()

    async def write(self, request: Message) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.call.write(request)

    async def read(self) -> Any:
        """Returns the next message; EOF at the end."""
        async with asyncio.timeout(PATIENCE):
            return await self.call.read()

    async def refusal(self) -> tuple[grpc.StatusCode, str]:
        """Reads on to the end, which must be an error, and returns its code and reason."""
        try:
            while await self.read() is not aio.EOF:
                pass
        except aio.AioRpcError as error:
            return error.code(), reason_of(error)
        raise AssertionError("was not refused")


class Publisher(_Stream):
    """A stream of frames to the kernel."""

    def __init__(self, kernel: Running) -> None:
        stub: Any = PublishServiceStub(kernel.channel)
        super().__init__(stub.PublishFrames())

    async def send(self, request: PublishFramesRequest) -> PublishFramesResponse:
        """Publishes a frame and returns the answer."""
        await self.write(request)
        answer = await self.read()
        assert isinstance(answer, PublishFramesResponse), "the stream has ended"
        return answer

    async def answer(self) -> PublishFramesResponse | tuple[grpc.StatusCode, str]:
        """Returns the next answer; where the stream was refused, its code and reason."""
        try:
            answer = await self.read()
        except aio.AioRpcError as error:
            return error.code(), reason_of(error)
        assert isinstance(answer, PublishFramesResponse), "the stream has ended"
        return answer


class Got(NamedTuple):
    """A record that was delivered."""

    topic: str
    partition: int
    offset: int
    attempt: int
    key: bytes
    payload: str


class Subscriber(_Stream):
    """A stream of records from the kernel. The block begins once it is open.

    Args:
        opening: what is to be delivered.

    Attributes:
        opened: the answer to that.
    """

    def __init__(self, kernel: Running, opening: pb.OpenSubscription) -> None:
        stub: Any = SubscriptionServiceStub(kernel.channel)
        super().__init__(stub.Subscribe())
        self._opening = opening
        self.opened = pb.Opened()
        self._early: deque[pb.SubscribeResponse] = deque()

    @classmethod
    def of(cls, kernel: Running, subscription: str, consumer: str = "") -> Self:
        """Returns a consumer of a subscription."""
        return cls(kernel, pb.OpenSubscription(subscription=subscription, consumer=consumer))

    @classmethod
    def tail(cls, kernel: Running, *patterns: str, parent: str = "namespaces/default", **fields: Any) -> Self:
        """Returns a reader of topics."""
        return cls(kernel, pb.OpenSubscription(tail=pb.Tail(parent=parent, topics=patterns, **fields)))

    async def __aenter__(self) -> Self:
        await self.write(pb.SubscribeRequest(open=self._opening))
        response = await self.response()
        assert response.HasField("opened")
        self.opened = response.opened
        return self

    async def response(self) -> pb.SubscribeResponse:
        """Returns the next message that was not looked at."""
        if self._early:
            return self._early.popleft()
        return await self._next()

    async def _next(self) -> pb.SubscribeResponse:
        response = await self.read()
        assert isinstance(response, pb.SubscribeResponse), "the stream has ended"
        return response

    async def credit(self, records: int, size: int = BYTES) -> None:
        """Lets more be delivered."""
        await self.write(pb.SubscribeRequest(credit=pb.Credit(records=records, bytes=size)))

    async def delivery(self) -> pb.Delivery:
        """Returns the next message, which must be a delivery."""
        response = await self.response()
        assert response.HasField("delivery"), response
        return response.delivery

    async def records(self, count: int) -> list[Got]:
        """Reads deliveries until there are so many records, and returns those; there must be no more."""
        found: list[Got] = []
        while len(found) < count:
            found += records_in(await self.delivery())
        assert len(found) == count, found
        return found

    async def settle(self, *settlements: pb.Settlement) -> pb.Settled:
        """Settles records, and returns the answer. What is delivered before it is kept for who asks next."""
        await self.write(pb.SubscribeRequest(settle=pb.Settle(settlements=settlements)))
        while not (response := await self._next()).HasField("settled"):
            self._early.append(response)
        return response.settled

    async def ack(self, records: Iterable[Got]) -> None:
        """Acknowledges records that are with this consumer."""
        settled = await self.settle(*(settlement(record, ack=pb.Ack()) for record in records))
        assert not settled.stale, settled

    async def nothing_more(self) -> None:
        """Makes sure that nothing was delivered that was not read: answers come in between, each after a write."""
        for _ in range(2):
            settled = await self.settle(
                pb.Settlement(topic="none", ranges=[pb.OffsetRange(first=0, end=1)], ack=pb.Ack())
            )
            assert settled.stale

    async def close(self) -> list[pb.SubscribeResponse]:
        """Says no more, and returns what comes until the stream ends, which it must do well."""
        await self.call.done_writing()
        found: list[pb.SubscribeResponse] = []
        while (response := await self.read()) is not aio.EOF:
            found.append(response)
        assert await self.call.code() is grpc.StatusCode.OK
        return found


def settlement(*records: Got, **outcome: Any) -> pb.Settlement:
    """What has become of records of one partition."""
    ranges = [pb.OffsetRange(first=record.offset, end=record.offset + 1) for record in records]
    return pb.Settlement(topic=records[0].topic, partition=records[0].partition, ranges=ranges, **outcome)


def records_in(delivery: pb.Delivery) -> Iterator[Got]:
    """Yields the records of a delivery that are this consumer's business."""
    assert checksum(delivery.frame) == delivery.checksum
    reader = FrameReader(delivery.frame)
    offsets = delivery.offsets or range(delivery.base_offset, delivery.base_offset + reader.count)
    for index, offset in enumerate(offsets):
        if not delivery.ranges or any(each.first <= offset < each.end for each in delivery.ranges):
            payload = reader.payload(index).decode()
            yield Got(delivery.topic, delivery.partition, offset, delivery.attempt, reader.key(index), payload)
