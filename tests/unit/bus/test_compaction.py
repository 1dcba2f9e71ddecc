"""Compaction: the last record of each key stays at its offset, what it supersedes goes, whatever happens meanwhile."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.bus.internal.v1.stored_frame_pb2 import Redrive
from sira.bus.v1.frame_pb2 import Compression
from sira_client.frames import checksum

from sira_grpc.bus import appending, compacted_log
from sira_grpc.bus.compaction import compact
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.errors import StoreUnavailable
from tests.clocks import NANOS, FakeClock
from tests.unit.bus.compaction_world import KEY, LOGS, MIN_AGE, TOMBSTONE_AGE, compacted, contents, publish, topic
from tests.unit.bus.partition_world import PartitionWorld, incoming, record


@pytest.fixture
async def world(partition_world: PartitionWorld) -> PartitionWorld:
    partition_world.recent_bytes = 0
    partition_world.settings = TopicSettings.of(topic())
    await partition_world.reopen()
    return partition_world


async def test_the_last_record_of_each_key_stays_where_it_was(world: PartitionWorld) -> None:
    await publish(world, "a=1 b=1 x a=2")
    await publish(world, "b=2")
    await publish(world, "c=1 a=3")
    await publish(world, "end")
    assert await compacted(world) == ["2:x", "4:2", "5:1", "6:3", "7:end"]
    for killed in (False, True):
        await world.reopen(killed=killed)
        assert await contents(world) == ["2:x", "4:2", "5:1", "6:3", "7:end"]
        assert world.partition.end == 8
    for offset, base in ((0, 2), (2, 2), (3, 4), (4, 4), (5, 5), (6, 5), (7, 7)):
        assert (await world.partition.read(offset))[0].base == base
    assert await world.store.get(KEY) is not None
    assert (await world.logs.range(world.log)).first == 3


async def test_what_is_young_stays_but_supersedes(world: PartitionWorld) -> None:
    await publish(world, "a=1 b=1")
    world.clock.advance(MIN_AGE + 1)
    await publish(world, "a=2")
    await publish(world, "a=3")
    assert await compacted(world, after=0) == ["1:1", "2:2", "3:3"]


async def test_the_last_frame_stays(world: PartitionWorld) -> None:
    await publish(world, "a=1")
    assert await compacted(world) == ["0:1"]
    assert world.partition.compacted is None
    await publish(world, "a=2 a=3")
    assert await compacted(world) == ["1:2", "2:3"]
    assert (await world.logs.range(world.log)).first == 1


async def test_it_is_done_again_and_again(world: PartitionWorld) -> None:
    last: dict[str, str] = {}
    for turn in range(30):
        for number in range(3):
            key = f"k{(turn + number * 7) % 11}"
            last[key] = f"{turn * 3 + number}:{turn}"
            await publish(world, f"{key}={turn}")
        found = await compacted(world)
        assert found == sorted(last.values(), key=lambda each: int(each.partition(":")[0]))
        if turn % 7 == 0:
            await world.reopen(killed=True)
    ranges = [await world.logs.range(log) for log in LOGS]
    used = [held for held in ranges if held.first < held.next]
    assert len(used) == 1, "the one before is gone"


async def test_a_tombstone_goes_when_it_is_old_enough(world: PartitionWorld) -> None:
    await publish(world, "a=1 b=1")
    await publish(world, "a=")
    await publish(world, "end")
    assert await compacted(world) == ["1:1", "2:", "3:end"]
    world.clock.advance(TOMBSTONE_AGE)
    await publish(world, "end")
    assert await compacted(world) == ["1:1", "3:end", "4:end"]
    await publish(world, "b=")
    await publish(world, "b=2")
    await publish(world, "end")
    assert await compacted(world, after=TOMBSTONE_AGE + 1) == ["3:end", "4:end", "6:2", "7:end"]


async def test_records_that_have_expired_go(world: PartitionWorld) -> None:
    await world.publish(record("1", key="a", ttl=5), record("2", key="b", ttl=500), record("3", ttl=5))
    await publish(world, "end")
    assert await compacted(world) == ["1:2", "3:end"]
    (held, _) = await world.frames()
    assert held.expired(world.clock.time_ns() + 480 * NANOS) == []
    assert held.expired(world.clock.time_ns() + 489 * NANOS) == [0]


async def test_what_came_back_for_one_subscription_supersedes_nothing(world: PartitionWorld) -> None:
    await publish(world, "a=new")
    back = incoming([record("old", key="a")], redrive=Redrive(subscription_uid="s", redrives=1))
    await world.appender.publish(back)
    everybody = incoming([record("old", key="b")], redrive=Redrive(redrives=1))
    await publish(world, "b=new")
    await world.appender.publish(everybody)
    await publish(world, "end")
    assert await compacted(world) == ["0:new", "1:old", "3:old", "4:end"]
    assert [held.only_for for held in await world.frames()] == ["", "s", "", ""]
    assert [held.redrives for held in await world.frames()] == [0, 1, 1, 0]


async def test_compressed_frames_are_taken_apart_or_kept_whole(world: PartitionWorld) -> None:
    zstd = Compression.COMPRESSION_ZSTD
    good = incoming([record("1" * 300, key="a"), record("2" * 300, key="b")], compression=zstd)
    bad = incoming([record("3" * 300, key="c"), record("4" * 300, key="d")], compression=zstd)
    bad.frame.payloads = b"no zstd"
    bad.data = bad.frame.SerializeToString()
    bad.checksum = checksum(bad.data)
    for frame in (good, bad):
        await world.appender.publish(frame)
    await publish(world, "a=5 c=6")
    await publish(world, "end")
    world.clock.advance(MIN_AGE + 1)
    await compact(world.partition, world.store, world.clock.time_ns())
    kept = [(held.base, held.count) for held in await world.frames()]
    assert kept == [(1, 1), (2, 2), (4, 2), (6, 1)]
    (held, whole, *_) = await world.frames()
    assert held.reader.payload(0) == b"2" * 300
    assert held.reader.frame.compression == zstd
    assert whole.data == bad.data


async def test_producers_ids_and_sizes_are_as_before(world: PartitionWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "MARK_FRAMES", 7)
    for sequence in range(1, 21):
        await world.publish(
            record(str(sequence), key=f"{sequence % 3}", id_=str(sequence)), producer="p", sequence=sequence
        )
    await compacted(world)
    for killed in (True, False):
        await world.reopen(killed=killed)
        assert (await world.publish(record("18", key="0", id_="18"))).duplicate
        assert (await world.publish(record("19"), producer="p", sequence=19)).duplicate
        logs = [await world.store.read(log, 0, max_frames=100, max_bytes=1 << 20) for log in (world.log, *LOGS)]
        assert world.partition.size == sum(len(frame.data) for log in logs for frame in log)
        assert world.partition.records == 3
    assert (await world.publish(record("21"), producer="p", sequence=21)).offset == 20


async def test_damaged_frames_are_left_out(world: PartitionWorld, caplog: pytest.LogCaptureFixture) -> None:
    for word in ("a=1", "b=1", "a=2", "end"):
        await publish(world, word)
    world.logs.damaged = {(world.log, 1)}
    assert await compacted(world) == ["2:2", "3:end"]
    assert "offsets 1 to 1 are damaged" in caplog.text


ROUNDS = st.lists(
    st.tuples(
        st.lists(
            st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.booleans()), min_size=1, max_size=4), max_size=6
        ),
        st.integers(0, 20),
        st.sampled_from(["compact", "compact", "reopen", "kill", "no commit", "no switch"]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(rounds=ROUNDS)
async def test_nothing_is_lost_that_nothing_supersedes(
    rounds: list[tuple[list[list[tuple[str, bool]]], int, str]],
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(compacted_log, "BATCH_FRAMES", 2)
        world = PartitionWorld(Path(directory), FakeClock(), topic())
        world.recent_bytes = 0
        await world.start()
        # Of each record: key, payload, when it was published.
        model: list[tuple[str, str, int]] = []
        for frames, seconds, step in rounds:
            for frame in frames:
                now = world.clock.time_ns()
                made = [
                    (key, "" if key and empty else str(len(model) + n), now) for n, (key, empty) in enumerate(frame)
                ]
                await world.publish(*(record(payload, key=key) for key, payload, _ in made))
                model += made
            world.clock.advance(seconds)
            await do(world, step)
            check(model, await world.records(), world.clock.time_ns(), compacted=step == "compact")
        await world.stop()


async def do(world: PartitionWorld, step: str) -> None:
    if step in {"reopen", "kill"}:
        await world.reopen(killed=step == "kill")
        return
    world.logs.failing = {"no commit": set(LOGS), "no switch": {world.log}}.get(step, set())
    try:
        await compact(world.partition, world.store, world.clock.time_ns())
    except StoreUnavailable:
        assert step == "no commit"
    world.logs.failing = set()


def check(model: list[tuple[str, str, int]], found: list[tuple[int, str]], now: int, *, compacted: bool) -> None:
    assert [offset for offset, _ in found] == sorted({offset for offset, _ in found})
    assert all(model[offset][1] == payload for offset, payload in found)
    last = {key: offset for offset, (key, _, _) in enumerate(model) if key}
    there = {offset for offset, _ in found}
    for offset, (key, payload, published) in enumerate(model):
        young = published >= now - MIN_AGE * NANOS
        tombstone = key and not payload and published < now - TOMBSTONE_AGE * NANOS
        if young or not key or (last[key] == offset and not tombstone):
            assert offset in there, "nothing supersedes it"
    if compacted and model:
        young_ones = [offset for offset, (_, _, published) in enumerate(model) if published >= now - MIN_AGE * NANOS]
        end = min(young_ones, default=len(model) - 1) - 4  # what is in one frame with those is left out
        superseding = {key: offset for offset, (key, _, _) in enumerate(model[: max(end, 0)]) if key}
        assert not [n for n in there if n < superseding.get(model[n][0], 0)]
