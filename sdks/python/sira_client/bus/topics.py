"""The topics of the bus, for programs that look after them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.v1.topic_pb2 import Compaction, Retention, Topic, TopicLimits
from sira.bus.v1.topic_service_pb2 import (
    CreateTopicRequest,
    DeleteTopicRequest,
    GetTopicRequest,
    ListTopicsRequest,
    UpdateTopicRequest,
    VerifyTopicRequest,
    VerifyTopicResponse,
)
from sira.bus.v1.topic_service_pb2_grpc import TopicServiceStub

from sira_client.bus.durability import Durability, durability_value
from sira_client.bus.names import parent_name, topic_name
from sira_client.bus.times import duration
from sira_client.errors import from_rpc_error
from sira_client.link import Link

if TYPE_CHECKING:  # these are only in the stubs
    from sira.bus.v1.topic_service_pb2_grpc import TopicServiceAsyncStub


class Topics:
    """Creates, reads, changes and deletes topics. They are named by their short names or by their resource names.

    Every method raises ValueError where a name is malformed, and SiraError where the kernel refuses or is not there.

    Args:
        link: to the kernel.
        rpcs: the kernel's RPCs, with default deadlines and typed errors.
        namespace: of short names.
    """

    def __init__(self, link: Link, rpcs: TopicServiceAsyncStub, namespace: str) -> None:
        self._link = link
        self._rpcs = rpcs
        self._namespace = namespace

    async def create(
        self,
        topic: str,
        *,
        partitions: int = 1,
        durability: Durability = "disk",
        retention: Retention | None = None,
        compaction: Compaction | None = None,
        limits: TopicLimits | None = None,
        deduplication_window: float | None = None,
        description: str = "",
    ) -> Topic:
        """Creates a topic, and returns it as stored.

        Args:
            topic: name.
            partitions: how many; they cannot be changed.
            durability: what acknowledged records survive; it cannot be changed.
            retention: how long records are kept; None for 7 days.
            compaction: if given, of the records with one key only the last is kept for good.
            limits: what a publisher may send.
            deduplication_window: seconds for which ids are remembered; None for 2 minutes, 0 for not at all.
            description: free text for people.

        Raises:
            AlreadyExistsError: it is there.
        """
        created = Topic(
            name=self._name(topic),
            description=description,
            partitions=partitions,
            durability=durability_value(durability),
            retention=retention,
            compaction=compaction,
            limits=limits,
            deduplication_window=_window(deduplication_window),
        )
        return (await self._rpcs.CreateTopic(CreateTopicRequest(topic=created))).topic

    async def get(self, topic: str) -> Topic:
        """Returns a topic, with what it holds.

        Raises:
            TopicNotFoundError: there is no such topic.
        """
        return (await self._rpcs.GetTopic(GetTopicRequest(name=self._name(topic)))).topic

    async def list(self, pattern: str = "") -> AsyncIterator[Topic]:
        """Yields the topics of the namespace by name, without what they hold.

        Args:
            pattern: only those that match, such as `orders.>`; empty for all.
        """
        request = ListTopicsRequest(parent=parent_name(self._namespace), pattern=pattern, page_size=1000)
        while True:
            response = await self._rpcs.ListTopics(request)
            for topic in response.topics:
                yield topic
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def update(
        self,
        topic: str,
        *,
        retention: Retention | None = None,
        compaction: Compaction | None = None,
        limits: TopicLimits | None = None,
        deduplication_window: float | None = None,
        description: str | None = None,
        etag: str = "",
    ) -> Topic:
        """Changes what is given, and returns the topic as stored.

        Args: see create; etag, if given, must be the stored one.

        Raises:
            TopicNotFoundError: there is no such topic.
            AbortedError: it was written since the etag was read.
        """
        given = {
            "retention": retention,
            "compaction": compaction,
            "limits": limits,
            "deduplication_window": _window(deduplication_window),
            "description": description,
        }
        paths = [name for name, value in given.items() if value is not None]
        if not paths:
            raise ValueError("there must be something to change")
        changed = Topic(
            name=self._name(topic),
            retention=retention,
            compaction=compaction,
            limits=limits,
            deduplication_window=_window(deduplication_window),
            description=description or "",
            etag=etag,
        )
        request = UpdateTopicRequest(topic=changed, update_mask=FieldMask(paths=paths))
        return (await self._rpcs.UpdateTopic(request)).topic

    async def delete(self, topic: str, *, force: bool = False, etag: str = "") -> None:
        """Deletes a topic.

        Args:
            topic: name.
            force: with the records in it.
            etag: if given, must be the stored one.

        Raises:
            TopicNotFoundError: there is no such topic.
            FailedPreconditionError: it has records, and force is not given.
        """
        await self._rpcs.DeleteTopic(DeleteTopicRequest(name=self._name(topic), force=force, etag=etag))

    async def verify(self, topic: str) -> AsyncIterator[VerifyTopicResponse]:
        """Has everything that a topic holds checked, and yields how far that is, for each partition to its end.

        Raises:
            TopicNotFoundError: from the iteration: there is no such topic.
        """
        member = self._link.member
        rpcs = TopicServiceStub(member.channel)
        call = member.carrying(rpcs.VerifyTopic(VerifyTopicRequest(name=self._name(topic))))
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from None
        finally:
            call.cancel()

    def _name(self, topic: str) -> str:
        return topic_name(topic, self._namespace)


def _window(seconds: float | None) -> Duration | None:
    return None if seconds is None else duration("deduplication_window", seconds)
