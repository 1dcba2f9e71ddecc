"""A small gRPC server with the services of the bus in memory, which a test can stop, start again, and make fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from sira.bus.v1 import dead_letter_service_pb2 as letters
from sira.bus.v1 import publish_service_pb2 as publishing
from sira.bus.v1 import subscription_service_pb2 as subscribing
from sira.bus.v1 import topic_service_pb2 as topics
from sira.bus.v1.dead_letter_pb2 import DeadLetter
from sira.bus.v1.subscription_pb2 import Subscription
from sira.bus.v1.topic_pb2 import Durability, Topic
from sira_client.first_of import first_of
from sira_client.frames import pack

from tests.unit.client.bus.partitions import Partition
from tests.unit.client.bus.streams import ConsumerStreams, KnownSubscription
from tests.unit.client.failure import Context, Failure
from tests.unit.client.in_memory_kernel import InMemoryKernel

Refusal = Callable[[publishing.PublishFramesRequest], Failure | None]


class BusDouble(InMemoryKernel):
    """What it holds survives stop and start.

    `refuse` says which frames are not taken. `answering`, while it is not set, holds the answers to frames back.
    `cut` is after how many more frames the stream breaks, with the last one stored and not answered; 0 for never.
    """

    protos = (letters.DESCRIPTOR, publishing.DESCRIPTOR, subscribing.DESCRIPTOR, topics.DESCRIPTOR)

    def __init__(self) -> None:
        super().__init__()
        self.topics: dict[str, Topic] = {}
        self.partitions: dict[str, list[Partition]] = {}
        self.refuse: Refusal = lambda _: None
        self.answering = asyncio.Event()
        self.answering.set()
        self.cut = 0
        self.frames: list[publishing.PublishFramesRequest] = []
        self.consumers = ConsumerStreams(self)
        self.letters: list[DeadLetter] = []

    def add_topic(self, name: str, partitions: int = 1, **fields: Any) -> list[Partition]:
        """Adds a topic, given its short name."""
        full = f"namespaces/default/topics/{name}"
        self.topics[full] = Topic(name=full, partitions=partitions, **fields)
        self.partitions[full] = [Partition() for _ in range(partitions)]
        return self.partitions[full]

    def add_subscription(self, name: str, *topics: str, **fields: Any) -> KnownSubscription:
        """Adds a subscription, given its id. Its ack_timeout is 30 s unless the test wants it otherwise."""
        subscription = Subscription(name=f"namespaces/default/subscriptions/{name}", topics=topics or [">"], **fields)
        if not subscription.HasField("ack_timeout"):
            subscription.ack_timeout.FromSeconds(30)
        return self.consumers.add(subscription)

    async def notify(self) -> None:
        """Tells tests and consumers that something has changed."""
        await self._notify()

    async def stop(self) -> None:
        self.consumers.lose()
        await super().stop()

    async def _topic(self, name: str, context: Context) -> Topic:
        if name not in self.topics:
            await Failure(grpc.StatusCode.NOT_FOUND, "TOPIC_NOT_FOUND").abort(context)
        return self.topics[name]

    async def CreateTopic(self, request: topics.CreateTopicRequest, context: Context) -> topics.CreateTopicResponse:
        await self._enter("CreateTopic", request, context)
        if request.topic.name in self.topics:
            await Failure(grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS").abort(context)
        self.topics[request.topic.name] = request.topic
        self.partitions[request.topic.name] = [Partition() for _ in range(request.topic.partitions or 1)]
        return topics.CreateTopicResponse(topic=request.topic)

    async def GetTopic(self, request: topics.GetTopicRequest, context: Context) -> topics.GetTopicResponse:
        await self._enter("GetTopic", request, context)
        return topics.GetTopicResponse(topic=await self._topic(request.name, context))

    async def ListTopics(self, request: topics.ListTopicsRequest, context: Context) -> topics.ListTopicsResponse:
        """Two a page."""
        await self._enter("ListTopics", request, context)
        found, first = sorted(self.topics), int(request.page_token or 0)
        page = [self.topics[name] for name in found[first : first + 2]]
        return topics.ListTopicsResponse(topics=page, next_page_token=str(first + 2) if found[first + 2 :] else "")

    async def UpdateTopic(self, request: topics.UpdateTopicRequest, context: Context) -> topics.UpdateTopicResponse:
        await self._enter("UpdateTopic", request, context)
        stored = await self._topic(request.topic.name, context)
        request.update_mask.MergeMessage(request.topic, stored, True, True)
        return topics.UpdateTopicResponse(topic=stored)

    async def DeleteTopic(self, request: topics.DeleteTopicRequest, context: Context) -> topics.DeleteTopicResponse:
        await self._enter("DeleteTopic", request, context)
        await self._topic(request.name, context)
        if any(p.frames for p in self.partitions[request.name]) and not request.force:
            await Failure(grpc.StatusCode.FAILED_PRECONDITION, "NOT_EMPTY").abort(context)
        del self.topics[request.name]
        return topics.DeleteTopicResponse()

    async def VerifyTopic(
        self, request: topics.VerifyTopicRequest, context: Context
    ) -> AsyncIterator[topics.VerifyTopicResponse]:
        await self._enter("VerifyTopic", request, context)
        await self._topic(request.name, context)
        for number, partition in enumerate(self.partitions[request.name]):
            yield topics.VerifyTopicResponse(partition=number, frames=len(partition.frames), done=True)

    async def Publish(self, request: publishing.PublishRequest, context: Context) -> publishing.PublishResponse:
        await self._enter("Publish", request, context)
        await self._topic(request.topic, context)
        offset = self.partitions[request.topic][0].append(pack(request.records))
        await self.notify()
        published = [publishing.PublishedRecord(offset=offset + i) for i in range(len(request.records))]
        return publishing.PublishResponse(records=published, durability=Durability.DURABILITY_DISK)

    async def PublishFrames(
        self, requests: AsyncIterator[publishing.PublishFramesRequest], context: Context
    ) -> AsyncIterator[publishing.PublishFramesResponse]:
        """Frames are taken as they come, and answered as the test wants."""
        drop = asyncio.Event()
        self._drops.add(drop)
        taken: asyncio.Queue[publishing.PublishFramesResponse | Failure | None] = asyncio.Queue()
        reading = asyncio.create_task(self._take_frames(requests, taken))
        try:
            while (outcome := await taken.get()) is not None:
                await first_of(self.answering.wait(), drop.wait())
                if drop.is_set():
                    outcome = Failure(grpc.StatusCode.UNAVAILABLE, "KERNEL_STOPPING", retry_after_ms=1)
                if isinstance(outcome, Failure):
                    await outcome.abort(context)
                    return
                yield outcome
        finally:
            reading.cancel()
            self._drops.discard(drop)

    async def _take_frames(
        self,
        requests: AsyncIterator[publishing.PublishFramesRequest],
        taken: asyncio.Queue[publishing.PublishFramesResponse | Failure | None],
    ) -> None:
        topic = producer_id = ""
        async for request in requests:
            topic, producer_id = request.topic or topic, request.producer_id or producer_id
            outcome = self._take_frame(request, topic, producer_id)
            taken.put_nowait(outcome)
            self.frames.append(request)
            await self.notify()
            if isinstance(outcome, Failure):
                return
        taken.put_nowait(None)

    def _take_frame(
        self, request: publishing.PublishFramesRequest, topic: str, producer_id: str
    ) -> publishing.PublishFramesResponse | Failure:
        if self.failures["PublishFrames"]:
            return self.failures["PublishFrames"].popleft()
        if topic not in self.topics:
            return Failure(grpc.StatusCode.NOT_FOUND, "TOPIC_NOT_FOUND")
        if (failure := self.refuse(request)) is not None:
            return failure
        outcome = self.partitions[topic][request.partition].publish(request, producer_id)
        if isinstance(outcome, Failure):
            return outcome
        if self.cut:
            self.cut -= 1
            if not self.cut:
                return Failure(grpc.StatusCode.UNAVAILABLE)
        offset, count, duplicate = outcome
        return publishing.PublishFramesResponse(
            partition=request.partition,
            offset=offset,
            count=count,
            durability=self.topics[topic].durability or Durability.DURABILITY_DISK,
            duplicate=duplicate,
        )

    async def Subscribe(
        self, requests: AsyncIterator[subscribing.SubscribeRequest], context: Context
    ) -> AsyncIterator[subscribing.SubscribeResponse]:
        first = await anext(requests)
        await self._enter("Subscribe", first, context)
        if first.open.WhichOneof("source") == "subscription" and first.open.subscription not in self.consumers.known:
            await Failure(grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND").abort(context)
        stream = self.consumers.open(first.open)
        drop = asyncio.Event()
        self._drops.add(drop)
        reading = asyncio.create_task(stream.read(requests))
        try:
            async for response in stream.responses(drop):
                yield response
            if drop.is_set():
                await (self.failures["consuming"] or [Failure(grpc.StatusCode.UNAVAILABLE)]).pop().abort(context)
        finally:
            reading.cancel()
            self._drops.discard(drop)
            stream.end()
            await self.notify()

    async def _subscription(self, name: str, context: Context) -> Subscription:
        if name not in self.consumers.known:
            await Failure(grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND").abort(context)
        return self.consumers.known[name].subscription

    async def CreateSubscription(
        self, request: subscribing.CreateSubscriptionRequest, context: Context
    ) -> subscribing.CreateSubscriptionResponse:
        await self._enter("CreateSubscription", request, context)
        self.consumers.add(request.subscription)
        return subscribing.CreateSubscriptionResponse(subscription=request.subscription)

    async def GetSubscription(
        self, request: subscribing.GetSubscriptionRequest, context: Context
    ) -> subscribing.GetSubscriptionResponse:
        await self._enter("GetSubscription", request, context)
        return subscribing.GetSubscriptionResponse(subscription=await self._subscription(request.name, context))

    async def ListSubscriptions(
        self, request: subscribing.ListSubscriptionsRequest, context: Context
    ) -> subscribing.ListSubscriptionsResponse:
        """Two a page."""
        await self._enter("ListSubscriptions", request, context)
        found, first = sorted(self.consumers.known), int(request.page_token or 0)
        page = [self.consumers.known[name].subscription for name in found[first : first + 2]]
        token = str(first + 2) if found[first + 2 :] else ""
        return subscribing.ListSubscriptionsResponse(subscriptions=page, next_page_token=token)

    async def UpdateSubscription(
        self, request: subscribing.UpdateSubscriptionRequest, context: Context
    ) -> subscribing.UpdateSubscriptionResponse:
        await self._enter("UpdateSubscription", request, context)
        stored = await self._subscription(request.subscription.name, context)
        request.update_mask.MergeMessage(request.subscription, stored, True, True)
        return subscribing.UpdateSubscriptionResponse(subscription=stored)

    async def DeleteSubscription(
        self, request: subscribing.DeleteSubscriptionRequest, context: Context
    ) -> subscribing.DeleteSubscriptionResponse:
        await self._enter("DeleteSubscription", request, context)
        await self._subscription(request.name, context)
        del self.consumers.known[request.name]
        return subscribing.DeleteSubscriptionResponse()

    async def PauseSubscription(
        self, request: subscribing.PauseSubscriptionRequest, context: Context
    ) -> subscribing.PauseSubscriptionResponse:
        await self._enter("PauseSubscription", request, context)
        stored = await self._subscription(request.name, context)
        stored.paused = True
        return subscribing.PauseSubscriptionResponse(subscription=stored)

    async def ResumeSubscription(
        self, request: subscribing.ResumeSubscriptionRequest, context: Context
    ) -> subscribing.ResumeSubscriptionResponse:
        await self._enter("ResumeSubscription", request, context)
        stored = await self._subscription(request.name, context)
        stored.paused = False
        return subscribing.ResumeSubscriptionResponse(subscription=stored)

    async def SeekSubscription(
        self, request: subscribing.SeekSubscriptionRequest, context: Context
    ) -> subscribing.SeekSubscriptionResponse:
        await self._enter("SeekSubscription", request, context)
        return subscribing.SeekSubscriptionResponse(status=(await self._subscription(request.name, context)).status)

    async def ListDeadLetters(
        self, request: letters.ListDeadLettersRequest, context: Context
    ) -> letters.ListDeadLettersResponse:
        """Two a page."""
        await self._enter("ListDeadLetters", request, context)
        first = int(request.page_token or 0)
        token = str(first + 2) if self.letters[first + 2 :] else ""
        return letters.ListDeadLettersResponse(dead_letters=self.letters[first : first + 2], next_page_token=token)

    async def GetDeadLetter(
        self, request: letters.GetDeadLetterRequest, context: Context
    ) -> letters.GetDeadLetterResponse:
        await self._enter("GetDeadLetter", request, context)
        for letter in self.letters:
            if letter.name == request.name:
                return letters.GetDeadLetterResponse(dead_letter=letter)
        await Failure(grpc.StatusCode.NOT_FOUND, "DEAD_LETTER_NOT_FOUND").abort(context)
        raise AssertionError

    async def RedriveDeadLetters(
        self, request: letters.RedriveDeadLettersRequest, context: Context
    ) -> letters.RedriveDeadLettersResponse:
        await self._enter("RedriveDeadLetters", request, context)
        return letters.RedriveDeadLettersResponse(redriven=len(self.letters))

    async def PurgeDeadLetters(
        self, request: letters.PurgeDeadLettersRequest, context: Context
    ) -> letters.PurgeDeadLettersResponse:
        await self._enter("PurgeDeadLetters", request, context)
        return letters.PurgeDeadLettersResponse(purged=len(self.letters))
