"""The small parts of the client of the bus, each on its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.bus.v1.subscription_pb2 import PartitionOffset
from sira.bus.v1.subscription_service_pb2 import Delivery, OffsetRange, Settled
from sira.bus.v1.topic_pb2 import Durability
from sira_client.bus.attributes import extras
from sira_client.bus.batches import Batches
from sira_client.bus.compression import compression_value
from sira_client.bus.cutting import BatchLimits, cut
from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.durability import durability_name, durability_value
from sira_client.bus.names import short_topic, subscription_name, topic_name
from sira_client.bus.outgoing import OutgoingFrame
from sira_client.bus.positions import start_position
from sira_client.bus.ranges import Ranges
from sira_client.bus.room import Room
from sira_client.bus.settling import Round, Settler
from sira_client.bus.times import duration, from_ns, timestamp, to_ns
from sira_client.frames import pack_columns


def test_names_are_given_either_way() -> None:
    full = "namespaces/a/topics/orders.eu.created"
    assert topic_name("orders.eu.created", "a") == topic_name(full, "b") == full
    assert short_topic(full) == short_topic("orders.eu.created") == "orders.eu.created"
    assert subscription_name("billing", "a") == subscription_name("namespaces/a/subscriptions/billing", "b")
    with pytest.raises(ValueError, match="200"):
        topic_name(".".join(["x" * 60] * 4), "a")


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_come_back(time: datetime) -> None:
    assert from_ns(to_ns("t", time)) == time


def test_times_in_other_zones_are_the_same_times() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    assert timestamp("t", when).ToNanoseconds() == to_ns("t", when) == 1_767_225_600 * 10**9
    assert from_ns(to_ns("t", when) + 999) == when


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_durations_are_not_negative(seconds: float) -> None:
    with pytest.raises(ValueError, match="d: must be"):
        duration("d", seconds)


def test_words() -> None:
    assert [durability_name(durability_value(name)) for name in ("disk", "memory")] == ["disk", "memory"]
    assert durability_name(Durability.DURABILITY_UNSPECIFIED) == "memory"
    assert [compression_value(name) for name in (None, "zstd", "lz4")] == [0, 1, 2]
    place = PartitionOffset(topic="t", partition=1, offset=2)
    assert start_position(place).offset == place
    assert start_position(datetime(2026, 1, 1, tzinfo=UTC)).time.seconds == 1_767_225_600


@given(st.lists(st.integers(0, 60)))
def test_ranges_hold_the_offsets_and_no_others(offsets: list[int]) -> None:
    ranges = Ranges()
    for offset in offsets:
        ranges.add(offset, offset + 1)
    merged = ranges.merged()
    assert [offset for one in merged for offset in range(one.first, one.end)] == sorted(set(offsets))
    assert all(before.end < after.first for before, after in pairwise(merged))


async def test_room_is_given_in_turn() -> None:
    room = Room(10)
    assert room.try_take(7)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        await room.take(size)
        order.append(name)

    large, small = asyncio.create_task(take("large", 8)), asyncio.create_task(take("small", 1))
    await asyncio.sleep(0)
    assert not room.try_take(1)
    room.give(7)
    await asyncio.gather(large, small)
    assert order == ["large", "small"]
    room.give(9)
    await room.take(100)  # there is nobody else
    assert not room.try_take(1)


@pytest.mark.parametrize("served", [False, True])
async def test_whoever_gives_up_waiting_for_room_takes_none(served: bool) -> None:
    room = Room(10)
    await room.take(10)
    first, second = asyncio.create_task(room.take(10)), asyncio.create_task(room.take(5))
    await asyncio.sleep(0)
    if served:
        room.give(10)
    first.cancel()
    if not served:
        room.give(10)
    await second
    assert room.try_take(5)
    assert not room.try_take(1)
    assert first.cancelled()


@given(
    st.lists(st.binary(max_size=30), max_size=40),
    st.integers(1, 10),
    st.integers(1, 100),
    st.booleans(),
    st.booleans(),
)
def test_pieces_are_within_the_limits_and_lose_nothing(
    payloads: list[bytes], records: int, size: int, keyed: bool, named: bool
) -> None:
    keys = [payload[:3] for payload in payloads] if keyed else None
    ids = [str(number) for number in range(len(payloads))] if named else None
    pieces = list(cut(payloads, keys, ids, BatchLimits(records, size)))
    assert [payload for piece in pieces for payload in piece[0]] == payloads
    if keys is not None:
        assert [key for piece in pieces for key in piece[1] or ()] == keys
    if ids is not None:
        assert [one for piece in pieces for one in piece[2] or ()] == ids
    for piece in pieces:
        assert 1 <= len(piece[0]) <= records
        taken = sum(sum(map(len, column)) for column in piece if column is not None)
        assert taken <= size or len(piece[0]) == 1


async def test_a_full_frame_of_a_key_makes_way_for_the_next_one() -> None:
    sealed: list[OutgoingFrame] = []
    batches = Batches(1, BatchLimits(10, 10), sealed.append, Random(1))
    for _ in range(3):
        batches.add(bytes(6), b"k", "", None, 7)
    assert [frame.count for frame in sealed] == [1, 1]
    assert batches
    batches.seal_all()
    assert not batches
    assert len(sealed) == 3


Sent = list[tuple[str, list[tuple[int, int]]]]


def settle_all(settler: Settler) -> list[Sent]:
    """Sends and answers everything; tells for each round the outcomes and ranges."""
    found: list[Sent] = []
    while (settle := settler.next(0)) is not None:
        found.append(
            [
                (settlement.WhichOneof("outcome") or "", [(one.first, one.end) for one in settlement.ranges])
                for settlement in settle.settlements
            ]
        )
        settler.settled(Settled())
    return found


async def test_acks_are_gathered_and_do_not_pass_what_came_between() -> None:
    settler = Settler(asyncio.Event())
    settler.ack("t", 0, 0, 5)
    settler.ack("t", 0, 7, 8)
    settler.ack("t", 0, 5, 6)
    settler.nak("t", 0, _ranges(9), None, "")
    settler.ack("t", 0, 10, 11)
    settler.terminate("t", 0, _ranges(11), "x" * 2000)
    settler.extend("t", 0, _ranges(12), None)
    assert settle_all(settler) == [
        [
            ("ack", [(0, 6), (7, 8)]),
            ("nak", [(9, 10)]),
            ("ack", [(10, 11)]),
            ("terminate", [(11, 12)]),
            ("extend", [(12, 13)]),
        ]
    ]
    assert settler.idle


async def test_one_round_is_under_way_at_a_time() -> None:
    settler = Settler(asyncio.Event())
    first = settler.ack("t", 0, 0, 1)
    assert settler.next(7) is not None
    assert first.serial == 7
    second = settler.ack("t", 0, 1, 2)
    assert settler.next(7) is None
    assert not settler.idle
    assert settler.settled(Settled()) is first
    assert (first.done, second.done) == (True, False)
    settler.next(8)
    settler.lose()
    assert (second.done, second.lost) == (True, True)
    assert not await settler.ack("t", 0, 2, 3).counted("t", 0, 2)
    assert settler.settled(Settled()) is second
    assert settler.settled(Settled()) is None


async def test_rounds_keep_the_limits_of_the_kernel() -> None:
    settler = Settler(asyncio.Event())
    for offset in range(0, 240_000, 2):
        settler.ack("t", 0, offset, offset + 1)
    for offset in range(2_000):
        settler.nak("t", 1, _ranges(offset), None, "")
    settles = []
    while (settle := settler.next(0)) is not None:
        settles.append(settle)
        settler.settled(Settled())
    assert all(len(settle.settlements) <= 1000 for settle in settles)
    assert all(len(one.ranges) <= 10_000 for settle in settles for one in settle.settlements)
    assert all(sum(len(one.ranges) for one in settle.settlements) <= 15_000 for settle in settles)
    acked = [one.first for settle in settles for s in settle.settlements if s.HasField("ack") for one in s.ranges]
    assert acked == list(range(0, 240_000, 2))
    assert sum(1 for settle in settles for s in settle.settlements if s.HasField("nak")) == 2_000


class Nobody:
    """Holds frames, and does nothing with them."""

    def __init__(self) -> None:
        self.settler = Settler(asyncio.Event())

    def consume(self, records: int, size: int) -> None: ...

    def released(self, frame: DeliveredFrame) -> None: ...

    def gave_back(self, frame: DeliveredFrame, positions: object, round_: Round) -> None: ...


@pytest.mark.parametrize(
    ("offsets", "ranges", "expected"),
    [
        ([], [], [10, 11, 12, 13]),
        ([], [(11, 13)], [11, 12]),
        ([], [(10, 11), (13, 14)], [10, 13]),
        ([3, 8, 20, 21], [], [3, 8, 20, 21]),
        ([3, 8, 20, 21], [(8, 9), (21, 22)], [8, 21]),
        ([3, 8, 20, 21], [(0, 9)], [3, 8]),
    ],
)
async def test_a_delivery_says_which_records_it_has(
    offsets: list[int], ranges: list[tuple[int, int]], expected: list[int]
) -> None:
    delivery = Delivery(
        topic="t",
        base_offset=10,
        offsets=offsets,
        ranges=[OffsetRange(first=first, end=end) for first, end in ranges],
        frame=pack_columns([b"a", b"b", b"c", b"d"]),
    )
    frame = DeliveredFrame(delivery, Nobody(), serial=1, arrived_ns=0)
    assert [frame.offset(position) for position in range(frame.count)] == expected
    round_ = frame.ack_all(frame.claim_rest(range(frame.count)))
    assert round_ is not None
    (settlement,) = round_.message().settlements
    assert [offset for one in settlement.ranges for offset in range(one.first, one.end)] == expected


async def test_a_delivery_that_makes_no_sense() -> None:
    for frame, offsets in ((b"\xff", []), (pack_columns([b"a"]), [1, 2])):
        with pytest.raises(ValueError, match=r"frame|offsets"):
            DeliveredFrame(Delivery(frame=frame, offsets=offsets), Nobody(), serial=1, arrived_ns=0)


def test_a_program_without_opentelemetry_has_no_trace() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
from sira_client.bus.tracing import current_trace_context
print(current_trace_context())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["None"]


def _ranges(offset: int) -> Ranges:
    ranges = Ranges()
    ranges.add(offset, offset + 1)
    return ranges


def test_a_time_to_live_is_rounded_up() -> None:
    found = extras(None, "", None, None, 0.0011, None)
    assert found is not None
    assert found.ttl_ms == 2
