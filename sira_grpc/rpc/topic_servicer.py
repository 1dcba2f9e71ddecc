"""TopicService: which topics there are, and what they hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

from sira.bus.v1 import topic_service_pb2 as pb
from sira.bus.v1 import topic_service_pb2_grpc as stubs
from sira.bus.v1.topic_pb2 import Topic

from sira_grpc.bus.bus import Bus
from sira_grpc.bus.view import TopicEntry
from sira_grpc.errors import SiraError
from sira_grpc.rpc.call import Context


class TopicServicer(stubs.TopicServiceServicer):
    """Each method is one command or read of topics. See the proto."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def CreateTopic(self, request: pb.CreateTopicRequest, context: Context) -> pb.CreateTopicResponse:
        """See the proto."""
        entry = await self._bus.topics.create(request.topic)
        return pb.CreateTopicResponse(topic=await self._written(entry))

    async def GetTopic(self, request: pb.GetTopicRequest, context: Context) -> pb.GetTopicResponse:
        """See the proto."""
        return pb.GetTopicResponse(topic=await self._described(await self._bus.topic(request.name)))

    async def ListTopics(self, request: pb.ListTopicsRequest, context: Context) -> pb.ListTopicsResponse:
        """See the proto."""
        page, token = await self._bus.topics.list(
            request.parent, pattern=request.pattern, size=request.page_size, token=request.page_token
        )
        return pb.ListTopicsResponse(topics=page, next_page_token=token)

    async def UpdateTopic(self, request: pb.UpdateTopicRequest, context: Context) -> pb.UpdateTopicResponse:
        """See the proto."""
        entry = await self._bus.topics.update(request.topic, request.update_mask)
        return pb.UpdateTopicResponse(topic=await self._written(entry))

    async def DeleteTopic(self, request: pb.DeleteTopicRequest, context: Context) -> pb.DeleteTopicResponse:
        """See the proto."""
        await self._bus.topics.delete(request.name, etag=request.etag, force=request.force)
        return pb.DeleteTopicResponse()

    async def VerifyTopic(
        self, request: pb.VerifyTopicRequest, context: Context
    ) -> AsyncIterator[pb.VerifyTopicResponse]:
        """See the proto."""
        async with aclosing(self._bus.verifying.verify(request.name)) as answers:
            async for answer in answers:
                yield answer

    async def _described(self, entry: TopicEntry) -> Topic:
        status = await self._bus.topic_status(entry)
        topic = Topic()
        topic.CopyFrom(entry.message)
        topic.status.CopyFrom(status)
        return topic

    async def _written(self, entry: TopicEntry) -> Topic:
        """Returns a topic as a command has left it.

        Without its status where that cannot be had: another member has the namespace by now, the store cannot be read,
        or the topic is deleted. An error would say that the command was not done.
        """
        topic = Topic()
        topic.CopyFrom(entry.message)
        current = self._bus.view.topics_by_uid.get(entry.uid)
        if current is not None:
            with suppress(SiraError):
                topic.status.CopyFrom(await self._bus.topic_status(current))
        return topic
