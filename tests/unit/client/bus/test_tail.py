from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from sira.bus.v1 import record_pb2
from sira.bus.v1.subscription_pb2 import StartPosition
from sira.bus.v1.subscription_service_pb2 import Tail
from sira_client import PermissionDeniedError
from sira_client.bus import Bus, PartitionOffset, TailStart
from sira_client.frames import pack, pack_columns

from tests.unit.client.bus.bus_double import BusDouble
from tests.unit.client.bus.conftest import SteppedClock
from tests.unit.client.bus.partitions import Partition
from tests.unit.client.failure import Failure


def fill(partition: Partition, count: int) -> None:
    first = partition.end
    partition.append(pack_columns([b"%d" % i for i in range(first, first + count)]))


def asked(double: BusDouble) -> list[Tail]:
    return [request.open.tail for request in double.seen["Subscribe"]]


async def test_topics_that_match_are_read_from_the_earliest(double: BusDouble, bus: Bus) -> None:
    for name in ("orders.eu", "orders.us", "other"):
        fill(double.add_topic(name)[0], 5)
    found = []
    async for record in bus.tail("orders.*", start="earliest", consumer="me"):
        found.append((record.topic, record.offset, record.payload, record.attempt))
        if len(found) == 10:
            break
    assert sorted(found) == [(f"orders.{name}", i, b"%d" % i, 0) for name in ("eu", "us") for i in range(5)]
    assert double.seen["Subscribe"][0].open.consumer == "me"
    assert asked(double)[0].parent == "namespaces/default"


async def test_the_latest_is_what_comes_from_now_on(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    fill(partition, 5)
    async with bus.tail(["orders"]) as records:
        found = aiter(records)
        await double.until(lambda: bool(double.consumers.streams and double.consumers.streams[0].requests))
        fill(partition, 2)
        await double.notify()
        assert [(await anext(found)).offset for _ in range(2)] == [5, 6]


async def test_there_is_nothing_to_settle(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    fill(partition, 600)
    found = 0
    async with bus.tail("orders", start="earliest", prefetch_records=100) as records:
        async for record in records:
            assert record.offset == found
            found += 1
            if found == 600:
                break
    assert {request.WhichOneof("action") for request in double.consumers.streams[0].requests} == {"credit"}


WHEN = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = PartitionOffset(topic="a", partition=1, offset=2)
LATEST = StartPosition(latest=StartPosition.Latest())


def at(when: datetime) -> StartPosition:
    position = StartPosition()
    position.time.FromDatetime(when)
    return position


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("earliest", Tail(start=StartPosition(earliest=StartPosition.Earliest()))),
        ("latest", Tail(start=LATEST)),
        (WHEN, Tail(start=at(WHEN))),
        (PLACE, Tail(start=StartPosition(offset=PLACE))),
        ({("namespaces/default/topics/a", 1): 2}, Tail(start=LATEST, resume=[PLACE])),
    ],
)
async def test_where_it_begins(double: BusDouble, bus: Bus, start: TailStart, expected: Tail) -> None:
    async with bus.tail(">", start=start):
        await double.until(lambda: bool(double.seen["Subscribe"]))
    expected.parent, expected.topics[:] = "namespaces/default", [">"]
    assert asked(double)[0] == expected


async def test_a_start_that_is_none(bus: Bus) -> None:
    with pytest.raises(ValueError, match="start"):
        bus.tail(">", start="yesterday")  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(ValueError, match="time zone"):
        bus.tail(">", start=datetime(2026, 1, 1))


@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_a_lost_stream_goes_on_where_it_was(double: BusDouble, bus: Bus, start: TailStart) -> None:
    first, second = double.add_topic("orders", 2)
    async with bus.tail("orders", start=start) as records:
        found = aiter(records)
        await double.until(lambda: bool(double.consumers.streams and double.consumers.streams[0].requests))
        fill(first, 10)
        await double.notify()
        assert [(await anext(found)).offset for _ in range(4)] == [0, 1, 2, 3]
        await double.stop()
        fill(first, 5)
        fill(second, 3)
        await double.start()
        await double.until(lambda: len(double.consumers.streams) == 2)
        rest = [await anext(found) for _ in range(14)]
    assert [record.offset for record in rest if record.partition == 0] == list(range(4, 15))
    assert [record.offset for record in rest if record.partition == 1] == [0, 1, 2]
    assert [(place.partition, place.offset) for place in asked(double)[-1].resume] == [(0, 4)]


async def test_a_damaged_frame_is_asked_for_again(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    fill(partition, 3)
    double.consumers.damage = 1
    async with bus.tail("orders", start="earliest") as records:
        found = aiter(records)
        assert [(await anext(found)).offset for _ in range(3)] == [0, 1, 2]
    assert len(double.consumers.streams) == 2


async def test_what_expired_is_left_out(double: BusDouble, bus: Bus, clock: SteppedClock) -> None:
    (partition,) = double.add_topic("orders")
    records = [record_pb2.Record(payload=b"%d" % i) for i in range(3)]
    records[1].ttl.FromTimedelta(timedelta(minutes=1))
    partition.append(pack(records))
    async with bus.tail("orders", start="earliest") as reader:
        found = aiter(reader)
        await anext(found)
        clock.ahead_ns = 120 * 10**9
        assert (await anext(found)).offset == 2


async def test_a_refusal_is_told(double: BusDouble, bus: Bus) -> None:
    double.failures["Subscribe"].append(Failure(grpc.StatusCode.PERMISSION_DENIED))
    with pytest.raises(PermissionDeniedError):
        await anext(aiter(bus.tail(">")))
