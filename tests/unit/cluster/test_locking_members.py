"""Locks of two members on one store: clients change between them, and either may be gone, stopped or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sira_grpc.cluster import claim_session
from sira_grpc.cluster.claim_key import ClaimKey
from sira_grpc.errors import LeaseSuperseded, LockHeld, LockLost, StoreUnavailable
from sira_grpc.following import follow
from tests.unit.cluster.locking_world import LOCK, LockStream, World, wanted, world


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.member("a")
        await made.member("b")
        yield made


async def test_they_exclude_each_other(two: World) -> None:
    a, b = two.members["a"].locks, two.members["b"].locks
    held = await a.acquire(wanted(), "me")
    with pytest.raises(LockHeld):
        await b.acquire(wanted(), "me")
    waiting = LockStream(two.members["b"], wanted())
    await waiting.next()
    await a.release(held.lock_key)
    assert await waiting.acquired() > held.token
    await waiting.release()


async def test_of_many_at_both_each_has_it_once(two: World) -> None:
    streams = [LockStream(two.members["ab"[i % 2]], wanted()) for i in range(30)]
    tokens: list[int] = []

    async def work(stream: LockStream) -> None:
        tokens.append(await stream.acquired())
        await stream.release()

    await asyncio.gather(*map(work, streams))
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 30


async def test_a_key_works_at_another_member_at_once(two: World) -> None:
    a, b = two.members["a"], two.members["b"]
    for _ in range(20):
        stream = LockStream(a, wanted())
        token = await stream.acquired()
        moved = LockStream(b, stream.key)
        assert await moved.acquired() == token
        await two.caught_up()
        with pytest.raises(LeaseSuperseded):
            await stream.next()
        assert [holder.member for holder in b.locks.get(LOCK).holders] == ["members/b"]
        assert (await a.locks.renew(stream.key)).token == token
        await b.locks.release(stream.key)
        await two.caught_up()
        with pytest.raises(LockLost):
            await moved.next()


async def test_claims_of_a_member_that_is_gone_have_one_ttl_to_come_back(two: World) -> None:
    back, gone = LockStream(two.members["a"], wanted()), LockStream(two.members["a"], wanted())
    token = await back.acquired()
    await gone.next()
    for stream in (back, gone):
        await stream.lose()
    await two.kill("a")
    await two.pass_(9)
    again = LockStream(two.members["b"], back.key)
    assert await again.acquired() == token
    await two.pass_(3)
    (lock,) = (await two.members["b"].locks.list("namespaces/default", size=0, token=""))[0]
    assert (len(lock.holders), len(lock.waiters)) == (1, 0)
    await again.release()


async def test_one_member_adopts_and_claims_of_live_ones_are_left_alone(two: World) -> None:
    await two.member("c")
    held = await two.members["a"].locks.acquire(wanted(ttl=5), "me")
    await two.caught_up()
    claim = ClaimKey.parse(held.lock_key).id
    assert [claim in two.members[m]._table for m in "abc"] == [True, False, False]
    two.live.change("b", "c")  # a is taken for dead, and is not
    assert sum(claim in two.members[m]._table for m in "bc") == 1
    two.live.change("a", "b", "c")
    assert [claim in two.members[m]._table for m in "abc"] == [True, False, False]


async def test_a_member_that_is_wrongly_taken_for_dead_sees_it_before_a_claim_can_expire(two: World) -> None:
    a, b = two.members["a"], two.members["b"]
    stream = LockStream(a, wanted(ttl=2))
    token = await stream.acquired()
    await two.caught_up()
    two.live.change("b")
    two.store.failures = [StoreUnavailable("slow")]
    await b.expiry.sweep()  # it could not be taken up: nothing runs yet
    two.clock.advance(1)
    b.expiry._time.tick(counts=True)
    assert b._table._orphans
    await b.expiry.sweep()
    assert not b._table._orphans
    await two.caught_up()
    with pytest.raises(LeaseSuperseded):
        await stream.renew()
    await two.pass_(2)
    again = LockStream(a, stream.key)  # there is time to come back, and to have it again
    assert await again.acquired() == token
    await again.lose()


async def test_a_holder_that_comes_back_before_its_expiry_is_written_stays(two: World) -> None:
    held = await two.members["a"].locks.acquire(wanted(ttl=2), "me")
    await two.kill("a")
    await two.pass_(1.5)
    c = await two.member("c")
    adopter = next(m for m in two.members.values() if ClaimKey.parse(held.lock_key).id in m._table)
    other = next(m for m in two.members.values() if m is not adopter)
    two.store.meanwhile = lambda: other.locks.renew(held.lock_key)
    for _ in range(4):  # the time of the one that adopted it goes on
        two.clock.advance(1)
        await adopter.expiry.sweep()
    assert two.store.meanwhile is None
    await two.caught_up()
    assert [holder.token for holder in c.locks.get(LOCK).holders] == [held.token]


async def test_a_member_that_was_stopped_looks_before_it_says_alive(two: World) -> None:
    a, b = two.members["a"], two.members["b"]
    stream = LockStream(a, wanted(ttl=5))
    await stream.acquired()
    assert type(await stream.renew()).__name__ == "LockAlive"
    # It stops: its view learns of nothing, and nobody hears of it.
    a._following.cancel()  # type: ignore[union-attr]
    close, a.view.close = a.view.close, lambda: None  # type: ignore[method-assign]
    await asyncio.gather(a._following, return_exceptions=True)  # type: ignore[arg-type]
    at = a.view.revision
    two.members.pop("a")
    two.live.change("b")
    await two.pass_(6)
    assert not b.view.entries
    taken = await b.locks.acquire(wanted(), "other")
    # It goes on, and its stream before its view.
    following = asyncio.create_task(follow(a._store, a.view, after=at))
    with pytest.raises(LockLost):
        await stream.renew()
    assert taken.token
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    a.view.close = close  # type: ignore[method-assign]
    await a.close()


async def test_a_member_without_a_store_says_nothing(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_session, "RETRY_SECONDS", 0.0)
    a = two.members["a"]
    stream = LockStream(a, wanted(ttl=5))
    token = await stream.acquired()
    two.clock.advance(1)
    two.store.failures = [StoreUnavailable("lost")] * 20
    telling = asyncio.create_task(stream.renew())
    while two.store.failures:
        assert not telling.done()
        await asyncio.sleep(0)
    assert type(await telling).__name__ == "LockAlive"
    two.store.failures = [StoreUnavailable("lost")]
    two.clock.advance(1)
    with pytest.raises(StoreUnavailable):
        await a.locks.renew(stream.key)
    assert (await a.locks.renew(stream.key)).token == token
    await stream.release()


async def test_many_streams_ask_the_store_once(two: World) -> None:
    a = two.members["a"]
    streams = [LockStream(a, wanted(name=f"namespaces/default/locks/x{i}")) for i in range(50)]
    for stream in streams:
        await stream.acquired()
    before = two.store.syncs
    two.clock.advance(1)
    await asyncio.gather(*(stream.renew() for stream in streams))
    assert two.store.syncs == before + 1
    for stream in streams:
        await stream.lose()
