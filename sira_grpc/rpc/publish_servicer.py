"""PublishService: takes records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from sira.bus.v1 import publish_service_pb2 as pb
from sira.bus.v1 import publish_service_pb2_grpc as stubs

from sira_grpc.bus.bus import Bus
from sira_grpc.rpc.call import Context, actor


class PublishServicer(stubs.PublishServiceServicer):
    """Each method is one way of publishing. See the proto."""

    def __init__(self, bus: Bus) -> None:
        self._publishing = bus.publishing

    async def Publish(self, request: pb.PublishRequest, context: Context) -> pb.PublishResponse:
        """See the proto."""
        return await self._publishing.publish(request, actor())

    async def PublishFrames(
        self, request_iterator: AsyncIterator[pb.PublishFramesRequest], context: Context
    ) -> AsyncIterator[pb.PublishFramesResponse]:
        """See the proto."""
        async with aclosing(self._publishing.stream(request_iterator, actor())) as responses:
            async for response in responses:
                yield response
