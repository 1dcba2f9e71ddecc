"""A real kernel in this process with something on its bus, and what of it a refused call must not change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio
from sira.bus.v1 import dead_letter_service_pb2 as dead_pb
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1 import topic_service_pb2 as topic_pb
from sira.bus.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishRequest, PublishResponse
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import Subscription
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira.bus.v1.topic_pb2 import Retention, Topic, TopicLimits
from sira.bus.v1.topic_service_pb2_grpc import TopicServiceStub
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.registry_service_pb2 import CreateNamespaceRequest
from sira_client.frames import checksum, pack_columns

from sira_grpc.bus import names
from sira_grpc.bus.bus import Bus
from sira_grpc.clock import Clock
from sira_grpc.config import BusConfig, KernelConfig, ServerConfig
from sira_grpc.kernel import Kernel
from tests.integration.bus_kernel import subscription_name, topic_name
from tests.integration.bus_stream import PATIENCE, Publisher, Subscriber, settlement
from tests.integration.registry_kernel import Running
from tests.kernel_store import SERVERS, store_config

ORDERS, EMPTY, FULL, TINY, MEMORY = map(topic_name, ("orders", "empty", "full", "tiny", "memory"))
WORK, LINE, IDLE = map(subscription_name, ("work", "line", "idle"))
NO_TOPIC, NO_SUBSCRIPTION = topic_name("none"), subscription_name("none")
ELSEWHERE = "namespaces/other"
PRODUCER = "p1"
"""It has sent the records 1 and 2 to ORDERS, partition 0, in one frame."""
KNOWN_ID = "known"
"""The id of a record that is there."""
SMALL = 64
"""Bytes of a record that TINY takes."""
FIRST_LETTER = 1 if SERVERS else 0
"""The number of a subscription's first dead letter: on a shared store the fence of its member comes before it."""


@dataclass(frozen=True)
class World:
    """What is there before each case: topics of every kind, their records, subscriptions, dead letters."""

    letter: str
    page_tokens: dict[str, str]


NOBODY = World(letter=f"{WORK}/deadLetters/0", page_tokens={"topics": "t", "subscriptions": "s", "letters": "l"})


@asynccontextmanager
async def running(path: Path, *, clock: Clock | None = None, bus: BusConfig | None = None) -> AsyncIterator[Running]:
    """Runs a kernel in a folder, at a port that the system chooses. It stops before its clients let go."""
    config = KernelConfig(
        server=ServerConfig(addresses=("127.0.0.1:0",), drain_grace=5),
        store=store_config(path),
        bus=bus or BusConfig(),
    )
    async with AsyncExitStack() as stack:
        kernel = Kernel(config, clock=clock)
        async with kernel:
            channel = await stack.enter_async_context(aio.insecure_channel(kernel.addresses[0]))
            yield Running(kernel, channel)


def bus_of(kernel: Running) -> Bus:
    assert kernel.kernel.bus is not None
    return kernel.kernel.bus


def topics(kernel: Running) -> Any:
    return TopicServiceStub(kernel.channel)


def publishing(kernel: Running) -> Any:
    return PublishServiceStub(kernel.channel)


def subscriptions(kernel: Running) -> Any:
    return SubscriptionServiceStub(kernel.channel)


def letters(kernel: Running) -> Any:
    return DeadLetterServiceStub(kernel.channel)


async def create_topic(kernel: Running, name: str, **fields: Any) -> Topic:
    """Creates a topic, by its full name."""
    answer = await topics(kernel).CreateTopic(topic_pb.CreateTopicRequest(topic=Topic(name=name, **fields)))
    assert isinstance(answer, topic_pb.CreateTopicResponse)
    return answer.topic


async def topic(kernel: Running, name: str) -> Topic:
    """Returns a topic, with what it holds."""
    answer = await topics(kernel).GetTopic(topic_pb.GetTopicRequest(name=name))
    assert isinstance(answer, topic_pb.GetTopicResponse)
    return answer.topic


async def create_subscription(kernel: Running, name: str, *patterns: str, **fields: Any) -> Subscription:
    """Creates a subscription, by its full name; it reads from the beginning, unless told otherwise."""
    wanted = Subscription(name=name, topics=patterns, **fields)
    if not wanted.HasField("start"):
        wanted.start.earliest.SetInParent()
    request = pb.CreateSubscriptionRequest(subscription=wanted)
    answer = await subscriptions(kernel).CreateSubscription(request)
    assert isinstance(answer, pb.CreateSubscriptionResponse)
    return answer.subscription


async def subscription(kernel: Running, name: str) -> Subscription:
    """Returns a subscription, with how far it has come."""
    answer = await subscriptions(kernel).GetSubscription(pb.GetSubscriptionRequest(name=name))
    assert isinstance(answer, pb.GetSubscriptionResponse)
    return answer.subscription


async def publish(kernel: Running, name: str, *records: Record, **fields: Any) -> PublishResponse:
    """Publishes records."""
    answer = await publishing(kernel).Publish(PublishRequest(topic=name, records=records, **fields))
    assert isinstance(answer, PublishResponse)
    return answer


def payloads(*texts: str, **fields: Any) -> list[Record]:
    """Records that carry texts."""
    return [Record(payload=text.encode(), **fields) for text in texts]


def framed(frame: bytes, **fields: Any) -> PublishFramesRequest:
    """The request that publishes a frame, to ORDERS unless told otherwise."""
    return PublishFramesRequest(**{"topic": ORDERS, "frame": frame, "checksum": checksum(frame), **fields})


REPEATED = framed(pack_columns([b"a", b"b"], ids=["", KNOWN_ID]), producer_id=PRODUCER, sequence=1)
"""It is there already, so that it changes nothing."""


async def prepare(kernel: Running) -> World:
    """Fills a bus."""
    await kernel.registry.CreateNamespace(CreateNamespaceRequest(namespace=Namespace(name=ELSEWHERE)))
    await bus_of(kernel).ownership.tenure(ELSEWHERE)  # or the first call there, be it refused, would make it be served
    await create_topic(kernel, ORDERS, partitions=2)
    await create_topic(kernel, EMPTY)
    refusing = Retention(max_records=1, when_full=2)  # type: ignore[arg-type]  # REFUSE
    await create_topic(kernel, FULL, retention=refusing)
    await create_topic(kernel, TINY, limits=TopicLimits(max_record_bytes=SMALL))
    await create_topic(kernel, MEMORY, durability=2)  # MEMORY
    await create_subscription(kernel, WORK, "orders")
    await create_subscription(kernel, LINE, "orders", mode=2)  # ORDERED
    await create_subscription(kernel, IDLE, "empty", "memory")
    await publish(kernel, FULL, Record(payload=b"it"))
    await publish(kernel, MEMORY, Record(payload=b"it"))
    async with Publisher(kernel) as publisher:
        await publisher.send(REPEATED)
    await publish(kernel, ORDERS, *payloads("c", "d", "e", key=b"k"), partition=1)
    async with Subscriber.of(kernel, WORK) as subscriber:
        await subscriber.credit(5)
        given_up = [settlement(record, terminate=pb.Terminate(detail="no")) for record in await subscriber.records(5)]
        await subscriber.settle(*given_up)
        await subscriber.close()
    await quiet(kernel)
    return World(letter=f"{WORK}/deadLetters/{FIRST_LETTER}", page_tokens=await _page_tokens(kernel))


async def _page_tokens(kernel: Running) -> dict[str, str]:
    namespace = names.namespace_of(ORDERS)
    pages = {
        "topics": await topics(kernel).ListTopics(topic_pb.ListTopicsRequest(parent=namespace, page_size=1)),
        "subscriptions": await subscriptions(kernel).ListSubscriptions(
            pb.ListSubscriptionsRequest(parent=namespace, page_size=1)
        ),
        "letters": await letters(kernel).ListDeadLetters(dead_pb.ListDeadLettersRequest(parent=WORK, page_size=1)),
    }
    return {name: page.next_page_token for name, page in pages.items()}


async def quiet(kernel: Running) -> None:
    """Returns once no consumer is connected, as a stream may end a little after its client has gone, and all is stored.

    What is closed here only finishes what it was handed; it may be handed more.
    """
    bus = bus_of(kernel)
    async with asyncio.timeout(PATIENCE):
        while bus.subscribing.tails or any(active.consumers for active in bus.active.opened()):
            await asyncio.to_thread(lambda: None)
        for active in bus.active.opened():
            await active.settling.close()
            for source in tuple(active.sources.values()):
                await source.settlements.close()
        for opened in bus.partitions.opened():
            await opened.appender.idle()


async def image(kernel: Running) -> object:
    """What the bus holds: what there is, where every log begins and ends, and where every record is."""
    await quiet(kernel)
    bus = bus_of(kernel)
    logs: dict[str, Sequence[int]] = {}
    machines: dict[tuple[str, str, int], object] = {}
    for entry in bus.view.topics.values():
        for partition in range(entry.settings.partitions):
            readers = [names.settlements_of(e.uid, entry.uid, partition) for e in bus.view.subscriptions.values()]
            for log in (*names.logs_of(entry.uid, partition), *readers):
                held = await bus.partitions.logs(entry).range(log)
                logs[log] = held.first, held.next
    for active in bus.active.opened():
        logs[active.entry.uid] = active.dead_letters.next, active.dead_letters.count
        for (short, partition), source in active.sources.items():
            machine = source.machine
            state = (machine.settled.floor, machine.settled.spans(), machine.outstanding, machine.retrying)
            machines[active.entry.name, short, partition] = state
    return (
        {entry.name: (str(entry.message), str(await bus.topic_status(entry))) for entry in bus.view.topics.values()},
        {entry.name: str(entry.message) for entry in bus.view.subscriptions.values()},
        logs,
        machines,
    )
