"""Commits that carry fencing tokens: applied while the lock is held, and never after it has gone on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from sira_grpc import fencing
from sira_grpc.background import Background
from sira_grpc.bus.pump import Pump
from sira_grpc.cluster.locking import Locking
from sira_grpc.commits import Commits
from sira_grpc.errors import Conflict, FencingTokenStale, InvalidField, LimitExceeded
from sira_grpc.store import Op, Put, Store
from tests.unit.cluster.locking_world import ELECTION, LOCK, CampaignStream, LockStream, World, candidacy, wanted, world

STALE_TRIES = 100


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.member("a")
        await made.member("b")
        yield made


def commits_of(two: World, member: str = "a") -> Commits:
    return Commits(cast(Store, two.store), two.members[member].view)


async def fenced(member: Locking, values: list[str], work: Callable[[], Awaitable[object]]) -> None:
    """Does something as a call does that came with tokens: in a task of its own."""

    async def call() -> None:
        guard = member.fences.guard(values)
        guard.refuse_stale()
        fencing.enter(guard)
        await work()

    await asyncio.create_task(call())


async def write(two: World, member: str, *values: str, ops: list[Op] | None = None) -> None:
    commits = commits_of(two, member)
    await fenced(two.members[member], [*values], lambda: commits.run(commits.apply(lambda: ops or [Put("x/1", b"v")])))


async def test_a_holder_writes_and_a_former_one_does_not(two: World) -> None:
    a, b = two.members["a"].locks, two.members["b"].locks
    held = await a.acquire(wanted(ttl=2), "me")
    fence = f"{LOCK}={held.token}"
    await write(two, "a", fence)
    await write(two, "b", fence)  # b has not heard of the lock yet, and asks
    await two.pass_(4)
    assert await two.store.get("locks/default/x") is None
    before = two.store.revision
    for number in range(STALE_TRIES):
        with pytest.raises(FencingTokenStale):
            await write(two, "ab"[number % 2], fence)
    taken = await b.acquire(wanted(), "other")
    for number in range(STALE_TRIES):
        with pytest.raises(FencingTokenStale):
            await write(two, "ab"[number % 2], fence)
    assert two.store.revision == before + 1
    await write(two, "a", f"{LOCK}={taken.token}")
    with pytest.raises(FencingTokenStale):
        await write(two, "a", f"{LOCK}={10**17}")


async def test_a_lock_that_goes_on_while_the_commit_is_on_its_way(two: World) -> None:
    a = two.members["a"].locks
    held = await a.acquire(wanted(), "me")
    two.store.meanwhile = lambda: two.members["b"].locks.release(held.lock_key)
    with pytest.raises(FencingTokenStale):
        await write(two, "a", f"{LOCK}={held.token}")
    assert await two.store.get("x/1") is None


async def test_a_queue_that_grows_meanwhile_fences_nobody(two: World) -> None:
    held = await two.members["a"].locks.acquire(wanted(), "me")
    waiting = LockStream(two.members["b"], wanted())
    two.store.meanwhile = waiting.next
    await write(two, "a", f"{LOCK}={held.token}")
    assert await two.store.get("x/1") is not None


async def test_one_that_grows_for_ever_ends_in_a_conflict(two: World) -> None:
    held = await two.members["a"].locks.acquire(wanted(ttl=100), "me")
    streams = []

    async def join() -> None:
        streams.append(LockStream(two.members["b"], wanted()))
        await streams[-1].next()
        two.store.meanwhile = join

    commits = commits_of(two)
    two.store.meanwhile = join
    with pytest.raises(Conflict, match="too fast"):
        await fenced(two.members["a"], [f"{LOCK}={held.token}"], lambda: commits.run(commits.write([Put("x/1", b"v")])))
    two.store.meanwhile = None
    assert await two.store.get("x/1") is None
    for stream in streams:
        await stream.lose()


async def test_the_lock_itself_is_released_under_its_own_token(two: World) -> None:
    a = two.members["a"]
    held = await a.locks.acquire(wanted(), "me")
    waiting = LockStream(a, wanted())
    await waiting.next()
    await fenced(a, [f"{LOCK}={held.token}"], lambda: a.locks.release(held.lock_key))
    assert await waiting.acquired() > held.token
    with pytest.raises(FencingTokenStale):
        await fenced(a, [f"{LOCK}={held.token}"], lambda: a.locks.acquire(wanted(name=f"{LOCK}2"), "me"))
    assert two.store.meanwhile is None
    await waiting.release()


async def test_several_tokens_must_all_be_good(two: World) -> None:
    a = two.members["a"]
    one = await a.locks.acquire(wanted(capacity=2), "me")
    other = await a.locks.acquire(wanted(capacity=2), "me")
    stream = CampaignStream(a, candidacy())
    term = (await stream.until("elected")).term
    await write(two, "b", f"{LOCK}={other.token}", f"{ELECTION}={term}")
    await stream.resign()
    await write(two, "b", f"{LOCK}={one.token}")
    with pytest.raises(FencingTokenStale):
        await write(two, "b", f"{LOCK}={other.token}", f"{ELECTION}={term}")


@pytest.mark.parametrize(
    "values",
    [
        ["x"],
        [""],
        [f"{LOCK}"],
        [f"{LOCK}="],
        [f"{LOCK}=0"],
        [f"{LOCK}=-1"],
        [f"{LOCK}=1 "],
        [f"{LOCK}={'9' * 30}"],
        ["namespaces/default/topics/x=1"],
        [f"{LOCK}=1", f"{LOCK}=2"],
        [f"{LOCK}{i}=1" for i in range(5)],
    ],
)
async def test_what_is_no_token_is_refused(two: World, values: list[str]) -> None:
    with pytest.raises(InvalidField, match="sira-fencing"):
        two.members["a"].fences.guard(values)


async def test_too_many_changes_for_one_commit(two: World) -> None:
    held = await two.members["a"].locks.acquire(wanted(), "me")
    with pytest.raises(LimitExceeded, match="1000 changes"):
        await write(two, "a", f"{LOCK}={held.token}", ops=[Put(f"x/{i}", b"") for i in range(1000)])


async def test_what_is_written_otherwise_is_verified(two: World) -> None:
    a = two.members["a"]
    held = await a.locks.acquire(wanted(), "me")
    guard = two.members["b"].fences.guard([f"{LOCK}={held.token}"])
    await guard.verify()
    waiting = LockStream(a, wanted())
    two.store.meanwhile = waiting.next
    await guard.verify()
    two.store.meanwhile = lambda: a.locks.release(held.lock_key)
    with pytest.raises(FencingTokenStale):
        await guard.verify()
    await waiting.lose()


async def test_background_work_that_a_call_starts_has_no_tokens(two: World) -> None:
    a = two.members["a"]
    held = await a.locks.acquire(wanted(), "me")
    found: list[object] = []
    background = Background()

    async def look(*_: object) -> None:
        found.append(fencing.current())

    async def call() -> None:
        pump: Pump[int] = Pump(look, "test", max_items=1, max_bytes=1)
        pump.put(1, 1)
        background.own(look(), "test")
        await pump.idle()
        await asyncio.create_task(look())  # what the call itself starts has them

    await fenced(a, [f"{LOCK}={held.token}"], call)
    await background.cancel()
    assert [guard is not None for guard in found] == [False, False, True]
