"""A kernel with a bus that is a process of its own, and calls of it."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from sira.bus.v1 import dead_letter_service_pb2 as dead_pb
from sira.bus.v1 import subscription_service_pb2 as subscription_pb
from sira.bus.v1 import topic_service_pb2 as topic_pb
from sira.bus.v1.dead_letter_pb2 import DeadLetter
from sira.bus.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from sira.bus.v1.publish_service_pb2 import PublishRequest, PublishResponse
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import Subscription
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira.bus.v1.topic_pb2 import Topic
from sira.bus.v1.topic_service_pb2_grpc import TopicServiceStub

from tests.integration.sira_process import SiraProcess
from tests.kernel_store import SERVERS, store_environment

NAMESPACE = "namespaces/default"
CALL_SECONDS = 30
"""After which a test gives up on a call."""
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.max_receive_message_length", 16 << 20),
)


def topic_name(topic: str) -> str:
    """The full name of a topic of the namespace that tests use."""
    return f"{NAMESPACE}/topics/{topic}"


def subscription_name(subscription: str) -> str:
    """The full name of a subscription of it."""
    return f"{NAMESPACE}/subscriptions/{subscription}"


@dataclass(frozen=True)
class BusKernel:
    """A kernel that runs, and a connection to it. `seconds_to_start` is what it took until it was ready."""

    process: SiraProcess
    address: str
    channel: aio.Channel
    seconds_to_start: float

    @property
    def pid(self) -> int:
        return self.process._process.pid

    @property
    def resident(self) -> int:
        """Bytes of it that are in memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self.process.kill()

    def connect(self) -> aio.Channel:
        """A connection of its own."""
        return aio.insecure_channel(self.address, options=OPTIONS)

    @property
    def topics(self) -> Any:
        return TopicServiceStub(self.channel)

    @property
    def publishing(self) -> Any:
        return PublishServiceStub(self.channel)

    @property
    def subscriptions(self) -> Any:
        return SubscriptionServiceStub(self.channel)

    @property
    def dead_letters(self) -> Any:
        return DeadLetterServiceStub(self.channel)

    async def create_topic(self, topic: str, **fields: Any) -> Topic:
        """Creates a topic, by its short name."""
        request = topic_pb.CreateTopicRequest(topic=Topic(name=topic_name(topic), **fields))
        answer: topic_pb.CreateTopicResponse = await self.topics.CreateTopic(request, timeout=CALL_SECONDS)
        return answer.topic

    async def topic(self, topic: str) -> Topic:
        """Returns a topic, with what it holds."""
        request = topic_pb.GetTopicRequest(name=topic_name(topic))
        answer: topic_pb.GetTopicResponse = await self.topics.GetTopic(request, timeout=CALL_SECONDS)
        return answer.topic

    async def topic_names(self) -> list[str]:
        """Returns the short names of all topics, of which there are few."""
        request = topic_pb.ListTopicsRequest(parent=NAMESPACE, page_size=1000)
        page = await self.topics.ListTopics(request, timeout=CALL_SECONDS)
        return [topic.name.rpartition("/")[2] for topic in page.topics]

    async def delete_topic(self, topic: str) -> None:
        """Deletes a topic with its records."""
        request = topic_pb.DeleteTopicRequest(name=topic_name(topic), force=True)
        await self.topics.DeleteTopic(request, timeout=CALL_SECONDS)

    async def damages(self, topic: str) -> list[str]:
        """Has everything that a topic holds read and checked, and returns what is wrong with it."""
        request = topic_pb.VerifyTopicRequest(name=topic_name(topic))
        return [
            f"{answer.partition}/{damage.offset}: {damage.description}"
            async for answer in self.topics.VerifyTopic(request, timeout=CALL_SECONDS)
            for damage in answer.damages
        ]

    async def publish(self, topic: str, records: Sequence[Record], partition: int = 0) -> PublishResponse:
        """Publishes records to a partition."""
        request = PublishRequest(topic=topic_name(topic), records=records, partition=partition)
        answer: PublishResponse = await self.publishing.Publish(request, timeout=CALL_SECONDS)
        return answer

    async def create_subscription(self, subscription: str, *topics: str, **fields: Any) -> Subscription:
        """Creates a subscription that reads from the beginning, by its short name, unless told otherwise."""
        wanted = Subscription(name=subscription_name(subscription), topics=topics, **fields)
        if not wanted.HasField("start"):
            wanted.start.earliest.SetInParent()
        request = subscription_pb.CreateSubscriptionRequest(subscription=wanted)
        answer: subscription_pb.CreateSubscriptionResponse = await self.subscriptions.CreateSubscription(
            request, timeout=CALL_SECONDS
        )
        return answer.subscription

    async def subscription(self, subscription: str) -> Subscription:
        """Returns a subscription, with how far it has come."""
        request = subscription_pb.GetSubscriptionRequest(name=subscription_name(subscription))
        answer: subscription_pb.GetSubscriptionResponse = await self.subscriptions.GetSubscription(
            request, timeout=CALL_SECONDS
        )
        return answer.subscription

    async def delete_subscription(self, subscription: str) -> None:
        """Deletes a subscription with its dead letters."""
        request = subscription_pb.DeleteSubscriptionRequest(name=subscription_name(subscription), force=True)
        await self.subscriptions.DeleteSubscription(request, timeout=CALL_SECONDS)

    async def letters(self, subscription: str) -> list[DeadLetter]:
        """Returns the dead letters of a subscription, without their payloads."""
        parent, token, found = subscription_name(subscription), "", list[DeadLetter]()
        while True:
            request = dead_pb.ListDeadLettersRequest(parent=parent, page_size=1000, page_token=token)
            page = await self.dead_letters.ListDeadLetters(request, timeout=CALL_SECONDS)
            found += page.dead_letters
            token = page.next_page_token
            if not token:
                return found

    async def letter(self, name: str) -> DeadLetter:
        """Returns a dead letter, with its payload."""
        request = dead_pb.GetDeadLetterRequest(name=name)
        answer: dead_pb.GetDeadLetterResponse = await self.dead_letters.GetDeadLetter(request, timeout=CALL_SECONDS)
        return answer.dead_letter

    async def redrive(self, subscription: str, limit: int) -> dead_pb.RedriveDeadLettersResponse:
        """Brings dead letters back to their subscription."""
        request = dead_pb.RedriveDeadLettersRequest(
            parent=subscription_name(subscription), limit=limit, max_redrives=1000
        )
        answer: dead_pb.RedriveDeadLettersResponse = await self.dead_letters.RedriveDeadLetters(
            request, timeout=CALL_SECONDS
        )
        return answer

    async def drained(self, *subscriptions: str) -> None:
        """Returns once subscriptions have settled everything."""
        for subscription in subscriptions:
            while (await self.subscription(subscription)).status.lag:
                pass  # each call is a wait of its own


@asynccontextmanager
async def running(
    folder: Path, *, address: str = "127.0.0.1:0", environment: dict[str, str] | None = None
) -> AsyncIterator[BusKernel]:
    """Has a kernel for the length of the block, at a port that the system chooses, or at an address."""
    with _start(folder, address, environment or {}) as process:
        ready = await asyncio.to_thread(process.json)
        (chosen,) = ready["addresses"]
        async with aio.insecure_channel(chosen, options=OPTIONS) as channel:
            kernel = BusKernel(process, chosen, channel, ready["secondsToStart"])
            if SERVERS:
                await _serves(kernel)
            yield kernel


async def _serves(kernel: BusKernel) -> None:
    """Returns once a kernel serves the bus: one that was killed on the same store counts as live for a while."""
    unavailable = True
    while unavailable:
        try:
            await kernel.topic("none")
        except aio.AioRpcError as error:
            unavailable = error.code() == grpc.StatusCode.UNAVAILABLE


async def kill_while_starting(folder: Path, seconds: float) -> None:
    """Starts a kernel and kills it so many seconds later, ready or not."""
    with _start(folder, "127.0.0.1:0", {}):
        await asyncio.sleep(seconds)


def _start(folder: Path, address: str, environment: dict[str, str]) -> SiraProcess:
    arguments = ("dev", "-o", "json", "--listen", address, "--data-dir", str(folder))
    return SiraProcess(*arguments, environment={"SIRA_LOG_LEVEL": "error", **store_environment(folder), **environment})


async def ended(call: Any) -> aio.AioRpcError:
    """What a stream has ended with."""
    metadata = await call.initial_metadata(), await call.trailing_metadata()
    return aio.AioRpcError(await call.code(), *metadata, await call.details())
