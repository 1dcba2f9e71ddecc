"""What a member that has lost a namespace without knowing still does to the store: nothing that does harm."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from sira.bus.internal.v1.compaction_record_pb2 import CompactionRecord
from sira.bus.v1.topic_pb2 import Compaction, Topic

from sira_grpc.bus import compaction, names
from sira_grpc.bus.compaction import compact, discard_orphan
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.partitions import OpenPartition
from sira_grpc.bus.recent import RecentBudget
from sira_grpc.bus.tenure import FencedLogs, FencedRecords, Tenure
from sira_grpc.errors import Conflict, NotOwner, StoreUnavailable
from sira_grpc.store import ABSENT, Check, LogRange, LogStore, Put, open_sqlite
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import FakeClock
from tests.unit.bus.control_world import DEFAULT, OTHER
from tests.unit.bus.members_world import NOT_SENT, TOPIC, UNKNOWN, Member, Members, MemberStore
from tests.unit.bus.partition_world import incoming, record

COMPACTED = f"{DEFAULT}/topics/c"


@pytest.mark.parametrize(("error", "over"), [(UNKNOWN, True), (NOT_SENT, False), (Conflict("another is next"), True)])
async def test_it_ends_with_what_may_have_been_done(
    tmp_path: Path, clock: FakeClock, error: Exception, *, over: bool
) -> None:
    store = await open_sqlite(tmp_path, clock=clock)
    touchy = MemberStore(store)
    said: list[str] = []
    tenure = Tenure(DEFAULT, Check("owner", 1), lambda ended, why: said.append(why))
    logs = FencedLogs(touchy, tenure)
    assert await logs.append("log", [b"0"], expected=0) == 0
    touchy.errors["log"] = error
    with pytest.raises(NotOwner if isinstance(error, Conflict) else StoreUnavailable):
        await logs.append("log", [b"1"], expected=1)
    assert (tenure.over, len(said)) == (over, over)
    if over:
        await _all_refused(logs, FencedRecords(store, tenure))
    else:
        assert await logs.append("log", [b"1"], expected=1) == 1
    tenure.end("again")
    assert len(said) == 1
    await store.close()


async def _all_refused(logs: FencedLogs, records: FencedRecords) -> None:
    for refused in (
        logs.append("log", [b"1"], expected=1),
        logs.read("log", 0, max_frames=1, max_bytes=1),
        logs.range("log"),
        logs.offset_at("log", 0),
        logs.trim("log", 1),
        logs.delete_partition("log"),
        records.get("key"),
        records.commit([Put("key", b"", ABSENT)]),
    ):
        with pytest.raises(NotOwner):
            await refused


async def test_a_store_that_is_not_shared_says_what_was_not_done(tmp_path: Path, clock: FakeClock) -> None:
    store = await open_sqlite(tmp_path, clock=clock)
    touchy, tenure = MemberStore(store), Tenure(DEFAULT)
    touchy.errors["log"] = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable):
        await FencedLogs(touchy, tenure).append("log", [b"0"], expected=0)
    assert not tenure.over
    await store.close()


async def test_a_commit_counts_only_while_the_namespace_is_the_members(tmp_path: Path, clock: FakeClock) -> None:
    store = await open_sqlite(tmp_path, clock=clock)
    revision = await store.commit([Put("owner", b"a", ABSENT)])
    tenure = Tenure(DEFAULT, Check("owner", revision))
    records = FencedRecords(store, tenure)
    await records.commit([Put("key", b"1", ABSENT)])
    with pytest.raises(Conflict):
        await records.commit([Put("key", b"2", ABSENT)])
    assert not tenure.over, "that is another matter"
    await store.commit([Put("owner", b"b", revision)])
    with pytest.raises(NotOwner):
        await records.commit([Put("key", b"2")])
    assert tenure.over
    entry = await store.get("key")
    assert entry is not None
    assert entry.value == b"1"
    await store.close()


async def _compacted(members: Members) -> None:
    made = Topic(name=COMPACTED, compaction=Compaction())
    made.compaction.min_age.FromSeconds(1)
    await members.a.bus.topics.create(made)
    await members.b.bus.view.caught_up(members.raw.revision)


async def _opened(member: Member) -> OpenPartition:
    (opened,) = await member.bus.partitions.all_of(member.bus.view.topic(COMPACTED))
    return opened


async def _compact(member: Member, opened: OpenPartition) -> None:
    records = FencedRecords(cast(SqliteStore, member.store), opened.tenure)
    await compact(opened.partition, records, opened.partition.newest_ns + 10_000_000_000)


async def _fill(member: Member, *words: str) -> None:
    for word in words:
        await member.publish(word, topic=COMPACTED, key=word[0])


async def test_a_deposed_member_cannot_have_what_it_compacts_count(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = members.a, members.b
    await _compacted(members)
    await _fill(a, "a1", "a2", "b1", "end")
    before = await _opened(a)
    await _compact(a, before)
    await _fill(a, "b2", "end")
    # It has written all of it, and is about to say that it counts.
    reached, gate = asyncio.Event(), asyncio.Event()
    switch = compaction._Compaction._switch

    async def held_up(*args: object) -> None:
        reached.set()
        await gate.wait()
        await switch(*args)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(compaction._Compaction, "_switch", held_up)
    compacting = asyncio.create_task(_compact(a, before))
    await reached.wait()
    monkeypatch.setattr(compaction._Compaction, "_switch", switch)
    a.store.stop()
    members.believe(b, "b", live="b")
    after = await _opened(b)
    await _compact(b, after)
    await _fill(b, "c1", "end")
    await _compact(b, after)
    expected = await b.payloads(COMPACTED)
    assert expected == ["a2", "b2", "c1", "end"]
    gate.set()
    a.store.go_on(blind=True)
    with pytest.raises((NotOwner, Conflict)):
        await compacting
    assert await b.payloads(COMPACTED) == expected
    a.store.go_on()
    members.agree("a")
    assert await a.payloads(COMPACTED) == expected, "it finds what its successor has left"


async def test_what_a_deposed_member_takes_away_is_not_what_its_successor_has_written(members: Members) -> None:
    a, b = members.a, members.b
    await _compacted(members)
    await _fill(a, "a1", "a2", "end")
    before = await _opened(a)
    log = names.compacted_of(before.partition.topic_uid, 0)[0]
    await members.raw.append(log, [b"left by a crash"])
    a.store.stop()
    emptying = asyncio.create_task(discard_orphan(before.partition))
    await a.store.arrived()
    members.believe(b, "b", live="b")
    after = await _opened(b)
    await _compact(b, after)
    assert await members.raw.range(log) == LogRange(1, 2), "numbers do not come again"
    entry = await members.raw.get(names.compaction_key(after.partition.topic_uid, 0))
    assert entry is not None
    assert CompactionRecord.FromString(entry.value).log == log
    a.store.go_on(blind=True)
    with pytest.raises(NotOwner):
        await emptying
    assert await b.payloads(COMPACTED) == ["a2", "end"]


async def test_a_partition_whose_marks_do_not_tell_of_what_was_trimmed_is_not_opened(members: Members) -> None:
    a = members.a
    await members.set_up()
    for number in range(5):
        await a.publish(str(number))
    (opened,) = await a.bus.partitions.all_of(a.bus.view.topic(TOPIC))
    held = opened.partition
    await held.marks.save(held.end, held.newest_ns, members.clock.time_ns())
    marks = names.marks_of(held.topic_uid, 0)
    late = LateMarks(members.raw, marks, await members.raw.range(marks))
    for number in range(5, 10):
        await a.publish(str(number))
    await held.marks.save(held.end, held.newest_ns, members.clock.time_ns())
    await members.raw.trim(held.log, 7)
    another = Partition(cast(LogStore, late), "t", held.topic_uid, 0, held.settings, RecentBudget(1 << 20))
    with pytest.raises(StoreUnavailable):
        await another.open(None)
    late.late = False
    again = Partition(cast(LogStore, late), "t", held.topic_uid, 0, held.settings, RecentBudget(1 << 20))
    await again.open(None)
    assert (again.first, again.end) == (7, 10)


class LateMarks:
    """Logs of which the marks are read as they were before the last of them."""

    def __init__(self, logs: SqliteStore, marks: str, held: LogRange) -> None:
        self.late = True
        self._held = held
        self._logs = logs
        self._marks = marks

    async def range(self, partition: str) -> LogRange:
        return self._held if self.late and partition == self._marks else await self._logs.range(partition)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logs, name)


class Remote:
    """Publishes at another member."""

    def __init__(self) -> None:
        self.published: list[tuple[str, int]] = []

    async def publish(self, topic: str, partition: int, incoming: Incoming) -> Published:
        self.published.append((topic, incoming.frame.count))
        return Published(0, incoming.frame.count)


async def test_what_goes_to_a_topic_of_another_member_is_published_there(members: Members) -> None:
    a, b = members.a, members.b
    for member in (a, b):
        member.placement.set("a", {"a", "b"}, other="b")
    await members.set_up()
    there = f"{OTHER}/topics/t"
    await b.bus.topics.create(Topic(name=there))
    await a.bus.view.caught_up(members.raw.revision)
    data = incoming([record("x")])
    with pytest.raises(NotOwner):
        await a.bus._publish(there, 0, data)
    a.bus.remote = remote = Remote()
    await a.bus._publish(there, 0, data)
    await a.bus._publish(TOPIC, 0, data)
    assert remote.published == [(there, 1)]
