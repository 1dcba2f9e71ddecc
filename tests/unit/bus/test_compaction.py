"""Compaction: the last record of each key stays at its offset, what it supersedes goes, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.bus.internal.v1.stored_frame_pb2 import Redrive
from sira.bus.v1.frame_pb2 import Compression
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.topic_pb2 import Compaction, Durability, Topic
from sira_client.frames import checksum

from sira_grpc.bus import appending, compacted_log, names
from sira_grpc.bus import compaction as module
from sira_grpc.bus.compaction import compact, compactable, discard_orphan
from sira_grpc.bus.retention import retain
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.store import Put
from tests.clocks import NANOS, FakeClock
from tests.unit.bus.partition_world import UID, PartitionWorld, incoming, record
from tests.unit.bus.test_retention import keep

MIN_AGE = 10
TOMBSTONE_AGE = 100
KEY = names.compaction_key(UID, 0)
LOGS = names.compacted_of(UID, 0)


def topic() -> Topic:
    made = Topic(compaction=Compaction())
    made.compaction.min_age.FromSeconds(MIN_AGE)
    made.compaction.tombstone_age.FromSeconds(TOMBSTONE_AGE)
    return made


@pytest.fixture
async def world(partition_world: PartitionWorld) -> PartitionWorld:
    partition_world.recent_bytes = 0
    partition_world.settings = TopicSettings.of(topic())
    await partition_world.reopen()
    return partition_world


async def publish(world: PartitionWorld, words: str) -> None:
    """Publishes a frame of records, `key=payload` each; what has no key is a payload alone."""
    await world.publish(*map(of, words.split()))


def of(word: str) -> Record:
    key, equals, payload = word.rpartition("=")
    return record(payload if equals else word, key=key)


async def compacted(world: PartitionWorld, *, after: float = MIN_AGE + 1) -> list[str]:
    """Moves time, compacts, and returns what can be read: offset and payload of each record."""
    world.clock.advance(after)
    await compact(world.partition, world.store, world.clock.time_ns())
    return await contents(world)


async def contents(world: PartitionWorld) -> list[str]:
    return [f"{offset}:{payload}" for offset, payload in await world.records()]


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
    used = [log for log in LOGS if (await world.logs.range(log)).next]
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


async def test_readers_miss_nothing_while_it_goes_on(world: PartitionWorld) -> None:
    """They read one frame at a time, and in between it is compacted and old frames go."""
    for turn in range(20):
        await publish(world, f"a={turn} only{turn}={turn} b={turn}")
    readers = [(0, list[str]()) for _ in range(8)]
    step = 0
    while any(offset < world.partition.end for offset, _ in readers):
        for index, (start, found) in enumerate(readers):
            offset = start
            for _ in range(index + 1):
                for held in (await world.partition.read(offset))[:1]:
                    found += [held.reader.key(place).decode() for place in range(held.count)]
                    offset = held.end
            readers[index] = offset, found
        step += 1
        await publish(world, f"a={step}") if step < 10 else None
        await compacted(world)
    for _, found in readers:
        assert {f"only{turn}" for turn in range(20)} <= set(found)
        assert found[-1] == "a"


async def test_a_reader_that_is_overtaken_reads_on_from_where_it_was(
    world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(6):
        await publish(world, f"k{turn}=1 a={turn}")
    await compacted(world)
    for turn in range(6, 9):
        await publish(world, f"k{turn}=1 a={turn}")
    segment = world.partition.compacted
    assert segment is not None
    read = segment.read

    async def overtaken(number: int, **limits: int) -> object:
        monkeypatch.undo()
        await compacted(world)
        return await read(number, **limits)

    monkeypatch.setattr(segment, "read", overtaken)
    (held, *_) = await world.partition.read(4)
    assert held.base == 4, "and not the first that is left in the partition's own log"


async def test_a_crash_before_it_counts_changes_nothing(world: PartitionWorld) -> None:
    await publish(world, "b=1")
    for turn in range(1, 5):
        await publish(world, f"a={turn}")
    world.logs.failures = [None, StoreUnavailable("full")]  # the mark can be written
    with pytest.raises(StoreUnavailable):
        await compacted(world)
    await world.reopen(killed=True)
    assert len(await contents(world)) == 5
    assert await compacted(world) == ["0:1", "4:4"]


@pytest.mark.parametrize("failing", [LOGS[0], "live"])
async def test_a_crash_after_it_counts_changes_nothing_either(world: PartitionWorld, failing: str) -> None:
    for turn in range(5):
        await publish(world, f"a={turn}")
    await compacted(world)
    for turn in range(5, 10):
        await publish(world, f"a={turn}")
    world.logs.failing = {world.log if failing == "live" else failing}
    try:
        await compacted(world)
    except StoreUnavailable:
        assert failing == LOGS[0], "the old log could not be deleted"
    await world.reopen(killed=True)
    assert await contents(world) == ["9:9"]
    world.logs.failing = set()
    await discard_orphan(world.partition)
    assert (await world.logs.range(LOGS[0])).next == 0
    assert await contents(world) == ["9:9"]
    assert world.partition.records == 1


async def test_of_two_members_one_wins(world: PartitionWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for turn in range(5):
        await publish(world, f"a={turn}")
    get = world.store.get

    async def overtaken(key: str) -> object:
        found = await get(key)
        await world.store.commit([Put(key, b"")])
        return found

    monkeypatch.setattr(world.store, "get", overtaken)
    with pytest.raises(Conflict):
        await compacted(world)
    assert len(await contents(world)) == 5


async def test_it_pays_when_as_much_can_be_compacted_as_was_before(
    world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_RECORDS", 20)

    async def pays(after: float = MIN_AGE + 1) -> bool:
        world.clock.advance(after)
        return await compactable(world.partition, world.clock.time_ns())

    assert not await pays()
    for number in range(19):
        await publish(world, f"{number}=x")
    assert not await pays(), "there is too little"
    for number in range(19, 40):
        await publish(world, f"{number}=x")
    assert not await pays(0), "it is too young"
    assert await pays()
    await compacted(world)
    assert not await pays()
    for number in range(25):
        await publish(world, f"{number}=x")
    assert not await pays(), "most was compacted before"
    for number in range(25):
        await publish(world, f"{number}=x")
    assert await pays()
    world.partition.settings = TopicSettings.of(Topic())
    assert not await pays()
    world.partition.settings = TopicSettings.of(Topic(compaction=Compaction(), durability=Durability.DURABILITY_MEMORY))
    assert not await pays()


async def test_large_frames_pay_by_their_size(world: PartitionWorld) -> None:
    for _ in range(3):
        await publish(world, f"a={'x' * 700_000}")
    assert not await compactable(world.partition, world.clock.time_ns())
    world.clock.advance(MIN_AGE + 1)
    assert await compactable(world.partition, world.clock.time_ns())
    found = await compacted(world)
    assert [each[:2] for each in found] == ["2:"]


async def test_what_was_compacted_goes_by_age_too(world: PartitionWorld) -> None:
    for turn in range(6):
        await publish(world, f"{turn}={turn}")
        world.clock.advance(10)
    await compacted(world)
    await publish(world, "end")
    keep(world, seconds=45)
    await retain(world.partition, world.clock.time_ns())
    assert await contents(world) == ["3:3", "4:4", "5:5", "6:end"]
    assert world.partition.records == 4
    await world.reopen(killed=True)
    assert await contents(world) == ["3:3", "4:4", "5:5", "6:end"]
    keep(world, count=2)
    await retain(world.partition, world.clock.time_ns())
    assert await contents(world) == ["5:5", "6:end"]
    await publish(world, "5=new")
    assert await compacted(world) == ["6:end", "7:new"]


async def test_nothing_is_written_when_the_topic_is_gone(world: PartitionWorld) -> None:
    for turn in range(5):
        await publish(world, f"a={turn}")
    world.clock.advance(MIN_AGE + 1)
    world.logs.shut()
    task = asyncio.create_task(compact(world.partition, world.store, world.clock.time_ns()))
    await world.logs.arrived()
    world.partition.close()
    idle = asyncio.create_task(world.partition.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    world.logs.open()
    await task
    await idle
    assert await world.store.get(KEY) is None
    assert (await world.logs.range(LOGS[0])).next == 0
    await compact(world.partition, world.store, world.clock.time_ns())
    await discard_orphan(world.partition)
    assert await world.store.get(KEY) is None
