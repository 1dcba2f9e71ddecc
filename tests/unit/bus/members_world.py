"""Members of a cluster that share one store, each with a bus of its own, whose placements a test sets as it likes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from opentelemetry.metrics import NoOpMeter
from sira.bus.v1.frame_pb2 import Frame
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishFramesResponse, PublishRequest
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import StartPosition, Subscription, SubscriptionMode
from sira.bus.v1.subscription_service_pb2 import (
    Credit,
    Delivery,
    OpenSubscription,
    Settle,
    Settled,
    Settlement,
    SubscribeRequest,
    SubscribeResponse,
    Tail,
)
from sira.bus.v1.topic_pb2 import Topic
from sira_client.frames import FrameReader, checksum, pack

from sira_grpc.bus import names
from sira_grpc.bus.bus import Bus
from sira_grpc.config import BusConfig
from sira_grpc.errors import SiraError, StoreUnavailable
from sira_grpc.store.api import Commit, Op, Store
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import FakeClock
from tests.unit.bus.control_world import DEFAULT, Neighbours

TOPIC = f"{DEFAULT}/topics/t"
SUBSCRIPTION = f"{DEFAULT}/subscriptions/s"
EARLIEST = StartPosition(earliest=StartPosition.Earliest())
ORDERED = SubscriptionMode.SUBSCRIPTION_MODE_ORDERED
UNKNOWN = StoreUnavailable("no answer came in time", metadata={"outcome": "unknown"}, retry_after=0.1)
NOT_SENT = StoreUnavailable("the store is lost", metadata={"outcome": "none"}, retry_after=0.1)


class MemberStore:
    """The shared store as one member reaches it.

    Attributes:
        faults: what befalls the next append to a log whose name ends so. "unknown": it is done, and not answered;
            "late": it is not answered, and done when `let_late_ones_in` is called; "lost": it is neither done nor
            answered; "none": it is refused, and known not to be done.
        errors: what the next append to a log whose name ends so raises.
        appended: the log of each append that was done.
    """

    shared = True

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.faults: dict[str, str] = {}
        self.errors: dict[str, Exception] = {}
        self.appended: list[str] = []
        self._late: list[tuple[str, Sequence[bytes], int | None]] = []
        self._gate = asyncio.Event()
        self._gate.set()
        self._view = asyncio.Event()
        self._view.set()
        self._arrived = asyncio.Event()

    def stop(self) -> None:
        """The member is stopped, or cut off: nothing that it asks for is done, and it hears of nothing."""
        self._gate.clear()
        self._view.clear()
        self._arrived.clear()

    def go_on(self, *, blind: bool = False) -> None:
        """It goes on, with what it was about to do first. `blind`: it hears of nothing yet."""
        self._gate.set()
        if not blind:
            self._view.set()

    async def arrived(self) -> None:
        """Returns when something was asked for since it was stopped."""
        await self._arrived.wait()

    async def _pass(self) -> None:
        self._arrived.set()
        await self._gate.wait()

    async def append(self, partition: str, frames: Sequence[bytes], *, expected: int | None = None) -> int:
        assert expected is not None, f"{partition}: an append without a fence"
        await self._pass()
        for end in [end for end in self.errors if partition.endswith(end)]:
            raise self.errors.pop(end)
        for end in [end for end in self.faults if partition.endswith(end)]:
            await self._fail(self.faults.pop(end), partition, frames, expected)
        self.appended.append(partition)
        return await self._store.append(partition, frames, expected=expected)

    async def _fail(self, fault: str, partition: str, frames: Sequence[bytes], expected: int) -> None:
        if fault == "unknown":
            await self._store.append(partition, frames, expected=expected)
        elif fault == "late":
            self._late.append((partition, frames, expected))
        raise NOT_SENT if fault == "none" else UNKNOWN

    async def let_late_ones_in(self) -> list[bool]:
        """Does what is late, and says of each whether it still could be."""
        done: list[bool] = []
        for partition, frames, expected in self._late:
            with suppress(SiraError):
                await self._store.append(partition, frames, expected=expected)
                done.append(True)
                continue
            done.append(False)
        self._late.clear()
        return done

    async def commit(self, ops: Sequence[Op]) -> int:
        await self._pass()
        return await self._store.commit(ops)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Commit]:
        async for commit in self._store.watch(prefix, after=after):
            await self._view.wait()
            yield commit

    async def trim(self, partition: str, before: int) -> None:
        await self._pass()
        await self._store.trim(partition, before)

    async def range(self, partition: str) -> Any:
        await self._pass()
        return await self._store.range(partition)

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Any:
        await self._pass()
        return await self._store.read(partition, offset, max_frames=max_frames, max_bytes=max_bytes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class SetPlacement:
    """Says what it was told. See Placement."""

    def __init__(self, member: str) -> None:
        self.member = member
        self.changed: list[Callable[[], None]] = []
        self.live: set[str] = set()
        self.owners: dict[str, str] = {}
        self.default = member

    def set(self, owner: str, live: set[str], **others: str) -> None:
        """All is one member's, but some namespaces, by their ids, are others'."""
        self.default, self.live = owner, live
        self.owners = {f"bus/{namespace}": member for namespace, member in others.items()}
        for hook in tuple(self.changed):
            hook()

    def is_live(self, member: str) -> bool:
        return member == self.member or member in self.live

    def owner(self, unit: str) -> str:
        return self.owners.get(unit, self.default)

    def owns(self, unit: str) -> bool:
        return self.owner(unit) == self.member


class Member:
    """One member."""

    def __init__(self, name: str, store: SqliteStore, clock: FakeClock, neighbours: Neighbours) -> None:
        self.name = name
        self.store = MemberStore(store)
        self.placement = SetPlacement(name)
        rng = random.Random(name)
        self.bus = Bus(
            cast(Store, self.store),
            neighbours,
            BusConfig(),
            clock=clock,
            rng=rng,
            random_bytes=rng.randbytes,
            meter=NoOpMeter("test"),
            placement=self.placement,
        )

    async def publish(self, *payloads: str, topic: str = TOPIC, key: str = "") -> list[int]:
        """Publishes records, and returns their offsets."""
        records = [Record(payload=payload.encode(), key=key.encode()) for payload in payloads]
        answer = await self.bus.publishing.publish(PublishRequest(topic=topic, records=records), "tester")
        return [record.offset for record in answer.records]

    async def publish_as(
        self, producer: str, sequence: int, *payloads: str, key: str = "", partition: int = 0
    ) -> PublishFramesResponse:
        """Publishes a frame as a producer does, in a stream of its own."""
        data = pack([Record(payload=payload.encode(), key=key.encode()) for payload in payloads])
        request = PublishFramesRequest(
            topic=TOPIC, producer_id=producer, sequence=sequence, partition=partition, frame=data,
            checksum=checksum(data),
        )  # fmt: skip

        async def requests() -> AsyncIterator[PublishFramesRequest]:
            yield request

        answers = [answer async for answer in self.bus.publishing.stream(requests(), "tester")]
        return answers[0]

    def subscribe(self, *, credit: int = 1000, name: str = SUBSCRIPTION) -> Stream:
        return Stream(self.bus, OpenSubscription(subscription=name), credit)

    def tail(self) -> Stream:
        return Stream(self.bus, OpenSubscription(tail=Tail(parent=DEFAULT, topics=[">"], start=EARLIEST)), 1000)

    async def payloads(self, topic: str = TOPIC) -> list[str]:
        """All that a topic holds."""
        found: list[str] = []
        for opened in await self.bus.partitions.all_of(self.bus.view.topic(topic)):
            offset = opened.partition.first
            while frames := await opened.partition.read(offset):
                found += [held.reader.payload(place).decode() for held in frames for place in range(held.count)]
                offset = frames[-1].end
        return found


class Stream:
    """A consumer."""

    def __init__(self, bus: Bus, opening: OpenSubscription, credit: int) -> None:
        self._deliveries: asyncio.Queue[Delivery | SiraError] = asyncio.Queue()
        self._settled: asyncio.Queue[Settled | SiraError] = asyncio.Queue()
        self._said: asyncio.Queue[SubscribeRequest] = asyncio.Queue()
        self._heard = bus.subscribing.serve(self._requests(), "tester")
        self._said.put_nowait(SubscribeRequest(open=opening))
        self._said.put_nowait(SubscribeRequest(credit=Credit(records=credit, bytes=1 << 30)))
        self._task = asyncio.create_task(self._listen())

    async def _requests(self) -> AsyncIterator[SubscribeRequest]:
        while True:
            yield await self._said.get()

    async def _listen(self) -> None:
        try:
            async for message in self._heard:
                response = SubscribeResponse.FromString(message)
                if response.WhichOneof("event") == "delivery":
                    self._deliveries.put_nowait(response.delivery)
                elif response.WhichOneof("event") == "settled":
                    self._settled.put_nowait(response.settled)
        except SiraError as error:
            self._deliveries.put_nowait(error)
            self._settled.put_nowait(error)

    async def delivery(self) -> Delivery:
        """The next delivery. Raises what the stream ended with."""
        async with asyncio.timeout(30):
            told = await self._deliveries.get()
        if isinstance(told, SiraError):
            raise told
        return told

    async def offsets(self, count: int) -> list[int]:
        """The offsets of the next so many records."""
        found: list[int] = []
        while len(found) < count:
            found += offsets_of(await self.delivery())
        return found

    async def settled(self) -> Settled:
        """Returns what was confirmed. Raises what the stream ended with."""
        async with asyncio.timeout(30):
            told = await self._settled.get()
        if isinstance(told, SiraError):
            raise told
        return told

    async def error(self) -> SiraError:
        """What it ended with."""
        while True:
            try:
                await self.delivery()
            except SiraError as error:
                return error

    def settle(self, kind: str, first: int, end: int, *, partition: int = 0, topic: str = "t") -> None:
        settlement = Settlement(topic=topic, partition=partition)
        settlement.ranges.add(first=first, end=end)
        getattr(settlement, kind).SetInParent()
        self._said.put_nowait(SubscribeRequest(settle=Settle(settlements=[settlement])))

    async def ack(self, first: int, end: int) -> Settled:
        """Settles records, and returns what was confirmed."""
        self.settle("ack", first, end)
        return await self.settled()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._heard.aclose()


def offsets_of(delivery: Delivery) -> list[int]:
    """The offsets of the records that were delivered."""
    count = Frame.FromString(delivery.frame).count
    every = list(delivery.offsets) or list(range(delivery.base_offset, delivery.base_offset + count))
    ranges = delivery.ranges
    return [n for n in every if not ranges or any(each.first <= n < each.end for each in ranges)]


def payloads_of(delivery: Delivery) -> list[tuple[int, str]]:
    """Offset and payload of each record that was delivered."""
    reader = FrameReader(delivery.frame)
    every = list(delivery.offsets) or list(range(delivery.base_offset, delivery.base_offset + reader.count))
    wanted = set(offsets_of(delivery))
    return [(n, reader.payload(place).decode()) for place, n in enumerate(every) if n in wanted]


class Members:
    """Two members, a and b; at first all is a's."""

    def __init__(self, store: SqliteStore, clock: FakeClock) -> None:
        self.raw = store
        self.clock = clock
        self.neighbours = Neighbours()
        self.a, self.b = (Member(name, store, clock, self.neighbours) for name in "ab")

    async def start(self) -> None:
        self.agree("a")
        for member in (self.a, self.b):
            await member.bus.start()

    def agree(self, owner: str, live: str = "ab") -> None:
        """Both say that all is one's, and who is live."""
        for member in (self.a, self.b):
            member.placement.set(owner, set(live))

    def believe(self, member: Member, owner: str, live: str = "ab") -> None:
        """One of them does."""
        member.placement.set(owner, set(live))

    def owner(self) -> str:
        """Whose the namespace is, as the store says."""
        held = self.a.bus.view.owners.get(DEFAULT)
        return held.member if held is not None else ""

    async def set_up(self, *, partitions: int = 1, mode: SubscriptionMode.ValueType = ORDERED) -> None:
        """A topic and a subscription of it, made at a and known to both."""
        await self.a.bus.topics.create(Topic(name=TOPIC, partitions=partitions))
        made = Subscription(name=SUBSCRIPTION, topics=["t"], mode=mode, start=EARLIEST)
        await self.a.bus.subscriptions.create(made)
        await self.b.bus.view.caught_up(self.raw.revision)

    async def stop(self) -> None:
        for member in (self.a, self.b):
            member.store.go_on()
            member.store.faults.clear()
            member.store.errors.clear()
        for member in (self.a, self.b):
            await member.bus.close()


async def until(condition: Callable[[], bool]) -> None:
    """Returns when something is so: the loop has its turns until then."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  what it is about is in several objects of two members
            await asyncio.sleep(0.005)


def log_of(member: Member, topic: str = TOPIC, partition: int = 0) -> str:
    return names.log_of(member.bus.view.topic(topic).uid, partition)
