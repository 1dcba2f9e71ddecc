from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sira.cluster.v1.lock_service_pb2 import HoldLockRequest, LockAcquisition, LockRenewal

from sira_grpc.cluster import lock_room
from sira_grpc.cluster.lock_room import Limits
from sira_grpc.errors import (
    InvalidField,
    KernelStopping,
    LeaseSuperseded,
    LimitExceeded,
    LockCapacityDiffers,
    LockHeld,
    LockLost,
    LockNotFound,
    NamespaceNotFound,
    StoreUnavailable,
)
from sira_grpc.store import MAX_VALUE_BYTES
from tests.unit.cluster.locking_world import LOCK, NAMESPACE, LockStream, Requests, World, wanted, world


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, shared=False) as made:
        await made.member()
        yield made


async def test_a_lock_is_one_holders_until_it_is_released(alone: World) -> None:
    locks = alone.members["a"].locks
    first = await locks.acquire(wanted(label="one"), "me")
    with pytest.raises(LockHeld):
        await locks.acquire(wanted(), "other")
    (holder,) = locks.get(LOCK).holders
    assert (holder.label, holder.owner, holder.member, holder.token) == ("one", "me", "members/a", first.token)
    await locks.release(first.lock_key)
    await locks.release(first.lock_key)
    with pytest.raises(LockNotFound):
        locks.get(LOCK)
    second = await locks.acquire(wanted(), "other")
    assert second.token > first.token
    with pytest.raises(LockLost):
        await locks.renew(first.lock_key)


async def test_tokens_grow_over_forgotten_locks_and_many_grants_in_one_commit(alone: World) -> None:
    locks = alone.members["a"].locks
    highest = 0
    for _ in range(3):
        keys = []
        for _ in range(20):
            acquired = await locks.acquire(wanted(capacity=20), "me")
            assert acquired.token > highest
            highest = acquired.token
            keys.append(acquired.lock_key)
        assert highest <= alone.store.revision
        for key in keys:
            await locks.release(key)


async def test_what_nobody_renews_expires(alone: World) -> None:
    locks = alone.members["a"].locks
    acquired = await locks.acquire(wanted(ttl=3), "me")
    await alone.pass_(2.5)
    assert (await locks.renew(acquired.lock_key)).token == acquired.token
    await alone.pass_(2.5)
    locks.get(LOCK)
    await alone.pass_(1)
    with pytest.raises(LockNotFound):
        locks.get(LOCK)
    with pytest.raises(LockLost):
        await locks.renew(acquired.lock_key)


async def test_a_stream_renews_and_a_lost_one_leaves_the_rest_of_the_ttl(alone: World) -> None:
    member = alone.members["a"]
    stream = LockStream(member, wanted())
    token = await stream.acquired()
    for _ in range(5):
        await alone.pass_(9)
        assert type(await stream.renew()).__name__ == "LockAlive"
    await alone.pass_(5)
    await stream.lose()
    await alone.pass_(4)
    again = LockStream(member, stream.key)
    assert await again.acquired() == token
    await alone.pass_(9)
    await again.renew()
    await again.lose()
    await alone.pass_(11)
    with pytest.raises(LockLost):
        await LockStream(member, stream.key).next()


async def test_an_open_stream_alone_keeps_nothing(alone: World) -> None:
    member = alone.members["a"]
    holding, waiting, third = (LockStream(member, wanted()) for _ in range(3))
    await holding.acquired()
    await waiting.next()
    await alone.pass_(6)
    await third.next()
    await alone.pass_(5)
    await third.acquired()
    for stream in (holding, waiting):
        with pytest.raises(LockLost):
            await stream.renew()
    await third.release()


async def test_waiters_get_their_turns_in_order(alone: World) -> None:
    member = alone.members["a"]
    first, second, third = (LockStream(member, wanted(label=str(i))) for i in range(3))
    token = await first.acquired()
    assert (await second.next()).ahead == 0
    assert (await third.next()).ahead == 1
    assert [waiter.label for waiter in member.locks.get(LOCK).waiters] == ["1", "2"]
    await first.release()
    assert token < (got := await second.acquired())
    await second.release()
    assert got < await third.acquired()
    await third.release()


async def test_a_waiter_whose_stream_is_lost_keeps_its_turn_for_its_ttl(alone: World) -> None:
    member = alone.members["a"]
    held = await member.locks.acquire(wanted(ttl=100), "me")
    second, third = LockStream(member, wanted()), LockStream(member, wanted())
    await second.next()
    await third.next()
    await second.lose()
    await member.locks.release(held.lock_key)
    assert await LockStream(member, second.key).acquired() < 10**6
    await second.lose()
    assert len(member.locks.get(LOCK).waiters) == 1


async def test_a_large_request_at_the_head_is_not_overtaken(alone: World) -> None:
    member = alone.members["a"]
    small = await member.locks.acquire(wanted(capacity=3), "me")
    large = LockStream(member, wanted(capacity=3, permits=3))
    await large.next()
    with pytest.raises(LockHeld):
        await member.locks.acquire(wanted(capacity=3), "me")
    await member.locks.release(small.lock_key)
    await large.acquired()
    await large.release()


async def test_waiting_ends_in_time(alone: World) -> None:
    member = alone.members["a"]
    held = await member.locks.acquire(wanted(), "me")
    with pytest.raises(LockHeld):
        await member.locks.acquire(wanted(wait=0.01), "me")
    waiting = LockStream(member, wanted(wait=0.01))
    await waiting.next()
    with pytest.raises(LockHeld):
        await waiting.next()
    with pytest.raises(LockHeld):
        await LockStream(member, wanted(wait=0)).next()
    assert not member.locks.get(LOCK).waiters
    acquiring = asyncio.create_task(member.locks.acquire(wanted(wait=100), "me"))
    with member.view.signalled("locks/default/x") as signal:
        await signal.fired()
    assert member.locks.get(LOCK).waiters
    await member.locks.release(held.lock_key)
    assert (await acquiring).token > held.token


async def test_who_is_cancelled_while_it_acquires_leaves_nothing(alone: World) -> None:
    member = alone.members["a"]
    alone.store.gate.clear()
    acquiring = asyncio.create_task(member.locks.acquire(wanted(), "me"))
    holding = asyncio.create_task(LockStream(member, wanted()).next())
    for _ in range(5):
        await asyncio.sleep(0)
    for task in (acquiring, holding):
        task.cancel()
    alone.store.gate.set()
    await asyncio.gather(acquiring, holding, return_exceptions=True)
    await member._commits.close()
    with pytest.raises(LockNotFound):
        member.locks.get(LOCK)


async def test_a_second_stream_takes_over(alone: World) -> None:
    member = alone.members["a"]
    first = LockStream(member, wanted())
    token = await first.acquired()
    second = LockStream(member, first.key)
    assert await second.acquired() == token
    with pytest.raises(LeaseSuperseded):
        await first.next()
    await second.release()


async def test_a_waiter_hears_how_many_are_before_it(alone: World) -> None:
    member = alone.members["a"]
    held = await member.locks.acquire(wanted(), "me")
    first, second = LockStream(member, wanted()), LockStream(member, wanted())
    await first.next()
    assert (await second.next()).ahead == 1
    await member.locks.release(held.lock_key)
    await first.acquired()
    assert (await second.renew()).ahead == 0
    await first.release()
    await second.acquired()
    assert type(await second.renew()).__name__ == "LockAlive"
    await second.release()


async def test_a_call_that_waits_keeps_its_place(alone: World) -> None:
    member = alone.members["a"]
    held = await member.locks.acquire(wanted(ttl=100), "me")
    acquiring = asyncio.create_task(member.locks.acquire(wanted(wait=1000), "me"))
    with member.view.signalled("locks/default/x") as signal:
        await signal.fired()
    await alone.turns()
    await alone.pass_(50)
    await member.locks.release(held.lock_key)
    acquired = await acquiring
    await alone.pass_(9)
    assert (await member.locks.renew(acquired.lock_key)).token == acquired.token
    await alone.pass_(11)
    with pytest.raises(LockLost):
        await member.locks.renew(acquired.lock_key)


async def test_what_is_wrong_is_refused(alone: World) -> None:
    member = alone.members["a"]
    with pytest.raises(InvalidField, match=r"acquisition\.permits"):
        await member.locks.acquire(wanted(capacity=2, permits=3), "me")
    with pytest.raises(NamespaceNotFound):
        await member.locks.acquire(wanted(name="namespaces/no/locks/x"), "me")
    with pytest.raises(NamespaceNotFound):
        await member.locks.list("namespaces/no", size=0, token="")
    held = await member.locks.acquire(wanted(), "me")
    with pytest.raises(LockCapacityDiffers) as differs:
        await member.locks.acquire(wanted(capacity=2), "me")
    assert differs.value.metadata == {"capacity": "1"}
    lock, secret = held.lock_key.split(".")
    for key in ("", "x", "a.b", f"{lock}.wrong", f"{lock}.", f"{lock}y.{secret}", f".{secret}", held.lock_key + ".x"):
        with pytest.raises(LockLost):
            await member.locks.renew(key)
        await member.locks.release(key)
    assert len(member.locks.get(LOCK).holders) == 1
    stream = LockStream(member, held.lock_key)
    await stream.acquired()
    stream.requests.send(HoldLockRequest(acquire=LockAcquisition(name=LOCK)))
    with pytest.raises(InvalidField, match="step"):
        await stream.next()
    with pytest.raises(InvalidField, match="step"):
        await anext(member.locks.hold(Requests(HoldLockRequest(renew=LockRenewal())), "me"))
    empty: Requests[HoldLockRequest] = Requests()
    empty.end()
    with pytest.raises(InvalidField, match="step"):
        await anext(member.locks.hold(empty, "me"))


async def test_limits(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        member = await made.member(limits=Limits(waiters=2, locks=2))
        streams = [LockStream(member, wanted()) for _ in range(3)]
        for stream in streams:
            await stream.next()
        with pytest.raises(LimitExceeded, match="waiters, 2"):
            await LockStream(member, wanted()).next()
        await member.locks.acquire(wanted(name=f"{NAMESPACE}/locks/y"), "me")
        with pytest.raises(LimitExceeded, match="locks, 2"):
            await member.locks.acquire(wanted(name=f"{NAMESPACE}/locks/z"), "me")
        assert [lock.name for lock in (await member.locks.list(NAMESPACE, size=0, token=""))[0]] == [
            LOCK,
            f"{NAMESPACE}/locks/y",
        ]
        page, token = await member.locks.list(NAMESPACE, size=1, token="")
        assert (page[0].name, len((await member.locks.list(NAMESPACE, size=1, token=token))[0])) == (LOCK, 1)
        for stream in streams:
            await stream.lose()


async def test_a_lock_that_has_become_too_large_takes_no_more(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock_room.MAX_RECORD_BYTES + 2000 * len(b"token, time") < MAX_VALUE_BYTES
    monkeypatch.setattr(lock_room, "MAX_RECORD_BYTES", 10_000)
    member = alone.members["a"]
    held = await member.locks.acquire(wanted(ttl=100), "me")
    streams = [LockStream(member, wanted(label="x" * 256), owner="o" * 2048) for _ in range(4)]
    for stream in streams:
        await stream.next()
    with pytest.raises(LimitExceeded, match="bytes"):
        await LockStream(member, wanted(label="x" * 256), owner="o" * 2048).next()
    assert len(member.locks.get(LOCK).waiters) == 4
    await member.locks.release(held.lock_key)
    for stream in streams:
        await stream.acquired()
        await stream.release()


async def test_a_namespace_with_locks(alone: World) -> None:
    member = alone.members["a"]
    assert member.tenant.holds(NAMESPACE) == ""
    stream = LockStream(member, wanted())
    await stream.acquired()
    assert member.tenant.holds(NAMESPACE) == "1 locks and 0 elections"
    await member.tenant.clear(NAMESPACE)
    assert member.tenant.holds(NAMESPACE) == ""
    with pytest.raises(LockLost):
        await stream.next()


async def test_a_restart_gives_one_ttl(alone: World) -> None:
    held = await alone.members["a"].locks.acquire(wanted(ttl=3), "me")
    await alone.kill("a")
    alone.clock.advance(1000)
    member = await alone.member("b")
    await alone.pass_(2)
    assert (await member.locks.renew(held.lock_key)).token == held.token
    await alone.pass_(4)
    with pytest.raises(LockNotFound):
        member.locks.get(LOCK)


async def test_time_stands_still_while_the_process_does_or_the_store_is_lost(alone: World) -> None:
    member = alone.members["a"]
    held = await member.locks.acquire(wanted(ttl=5), "me")
    alone.clock.advance(1000)
    await member.expiry.sweep()
    assert (await member.locks.renew(held.lock_key)).token
    alone.store.available = False
    await alone.pass_(100)
    alone.store.available = True
    await alone.pass_(3)
    member.locks.get(LOCK)
    await alone.pass_(5)
    with pytest.raises(LockNotFound):
        member.locks.get(LOCK)


async def test_what_cannot_be_written_when_it_is_due_gets_another_ttl(alone: World) -> None:
    member = alone.members["a"]
    held = await member.locks.acquire(wanted(ttl=5), "me")
    alone.store.failures = [StoreUnavailable("full")]
    await alone.pass_(6)
    assert not alone.store.failures
    assert (await member.locks.renew(held.lock_key)).token
    await alone.pass_(6)
    with pytest.raises(LockNotFound):
        member.locks.get(LOCK)


async def test_streams_end_when_the_view_does(alone: World) -> None:
    member = alone.members["a"]
    stream = LockStream(member, wanted())
    await stream.acquired()
    waiting = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    await member.close()
    with pytest.raises(KernelStopping):
        await waiting
    alone.members.clear()
