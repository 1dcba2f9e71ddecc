"""Keys that callers choose: who asks again, because no answer came, has what is there; nobody else can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sira.cluster.v1.lock_service_pb2 import HoldLockRequest, LockRenewal

from sira_grpc.cluster.claim_key import ClaimKey
from sira_grpc.errors import LeaseSuperseded, LockHeld, LockLost, LockNotFound, StoreUnavailable
from tests.unit.cluster.locking_world import (
    ELECTION,
    LOCK,
    CampaignStream,
    LockStream,
    World,
    candidacy,
    wanted,
    world,
)

SECRET, OTHER = "s" * 22, "t" * 22
KEY = f"{LOCK}.{SECRET}"


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.member("a")
        await made.member("b")
        yield made


def test_a_key_is_of_one_lock_and_hidden_in_logs() -> None:
    key = ClaimKey.parse(KEY)
    assert (key.lock, key.secret, str(key)) == ("locks/default/x", SECRET, KEY)
    assert ClaimKey.parse(f"{ELECTION}.{SECRET}").id != key.id
    assert ClaimKey.parse(f"{LOCK}y.{SECRET}").id != key.id
    assert SECRET not in repr(key)
    assert SECRET not in key.id
    for text in (
        "",
        ".",
        "x.y",
        f"{KEY}.z",
        f"{KEY} ",
        f"{LOCK}.",
        f"{LOCK.upper()}.{SECRET}",
        f"locks/default/x.{SECRET}",
    ):
        assert ClaimKey.parse(text) == ClaimKey("", "")


async def test_acquiring_again_is_having_it_still(two: World) -> None:
    a, b = (two.members[name].locks for name in "ab")
    first = await a.acquire(wanted(key_secret=SECRET), "me")
    assert first.lock_key == KEY
    revision = two.store.revision
    assert await a.acquire(wanted(key_secret=SECRET), "me") == first
    assert two.store.revision == revision  # nothing was written
    await two.caught_up()
    assert await b.acquire(wanted(key_secret=SECRET), "me") == first
    (holder,) = b.get(LOCK).holders
    assert holder.member == "members/b"
    assert (await b.renew(KEY)).token == first.token
    await b.release(KEY)
    with pytest.raises(LockNotFound):
        b.get(LOCK)
    assert (await a.acquire(wanted(key_secret=SECRET), "me")).token > first.token


async def test_a_place_in_the_queue_is_found_again(two: World) -> None:
    a, b = two.members["a"], two.members["b"]
    held = await a.locks.acquire(wanted(), "me")
    first, second = LockStream(a, wanted(key_secret=SECRET)), LockStream(a, wanted(key_secret=OTHER))
    assert ((await first.next()).ahead, (await second.next()).ahead) == (0, 1)
    await two.caught_up()
    again = LockStream(b, wanted(key_secret=SECRET))
    assert (await again.next()).ahead == 0
    await two.caught_up()
    with pytest.raises(LeaseSuperseded):
        await first.next()
    await a.locks.release(held.lock_key)
    assert await again.acquired() > held.token
    assert len(a.locks.get(LOCK).waiters) == 1
    await second.lose()
    await again.lose()


async def test_a_stranger_has_another_claim(two: World) -> None:
    locks = two.members["a"].locks
    first = await locks.acquire(wanted(key_secret=SECRET), "me")
    claim = ClaimKey.parse(KEY).id
    for guess in (claim, claim[:22], OTHER, SECRET + "s", SECRET.upper()):
        with pytest.raises(LockHeld):
            await locks.acquire(wanted(key_secret=guess), "stranger")
        with pytest.raises(LockLost):
            await locks.renew(f"{LOCK}.{guess}")
        await locks.release(f"{LOCK}.{guess}")
    (holder,) = locks.get(LOCK).holders
    assert (holder.owner, holder.token) == ("me", first.token)


async def test_a_caller_that_is_cut_off_has_a_ttl_to_ask_again(two: World) -> None:
    a, b = two.members["a"], two.members["b"]
    two.store.gate.clear()
    asking = asyncio.create_task(a.locks.acquire(wanted(key_secret=SECRET, ttl=3), "me"))
    await two.turns()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    two.store.gate.set()
    found = await b.locks.acquire(wanted(key_secret=SECRET, ttl=3, wait=1), "me")
    assert found.lock_key == KEY
    await two.caught_up()
    assert len(a.locks.get(LOCK).holders) == 1
    await two.pass_(4)
    with pytest.raises(LockNotFound):
        a.locks.get(LOCK)


async def test_a_release_that_overtakes_its_acquisition_ends_it(two: World) -> None:
    a = two.members["a"]
    two.store.gate.clear()
    asking = asyncio.create_task(a.locks.acquire(wanted(key_secret=SECRET), "me"))
    await two.turns()
    releasing = asyncio.create_task(a.locks.release(KEY))
    await two.turns()
    asking.cancel()
    two.store.gate.set()
    await releasing
    await asyncio.gather(asking, return_exceptions=True)
    with pytest.raises(LockNotFound):
        a.locks.get(LOCK)


async def test_a_call_that_waits_ends_when_another_has_its_key(two: World) -> None:
    a, b = two.members["a"], two.members["b"]
    held = await a.locks.acquire(wanted(), "me")
    with a.view.signalled("locks/default/x") as signal:
        asking = asyncio.create_task(a.locks.acquire(wanted(key_secret=SECRET, wait=60), "me"))
        await signal.fired()
    await two.caught_up()
    stream = LockStream(b, wanted(key_secret=SECRET))
    await stream.next()
    with pytest.raises(LeaseSuperseded):
        await asking
    await two.caught_up()
    assert len(b.locks.get(LOCK).waiters) == 1
    await a.locks.release(held.lock_key)
    await stream.acquired()
    await stream.release()


async def test_a_commit_whose_answer_was_lost_is_found_again(two: World) -> None:
    a = two.members["a"]
    first = await a.locks.acquire(wanted(key_secret=SECRET), "me")
    two.store.failures = [StoreUnavailable("nobody knows")]
    with pytest.raises(StoreUnavailable):
        await a.locks.acquire(wanted(key_secret=OTHER, name=f"{LOCK}y"), "me")
    assert (await a.locks.acquire(wanted(key_secret=OTHER, name=f"{LOCK}y"), "me")).token
    assert (await a.locks.acquire(wanted(key_secret=SECRET), "me")).token == first.token


async def test_a_campaign_is_found_again_with_what_it_proclaimed(two: World) -> None:
    stand = candidacy(value=b"one")
    stand.key_secret = SECRET
    first = CampaignStream(two.members["a"], stand)
    elected = await first.until("elected")
    assert elected.campaign_key == f"{ELECTION}.{SECRET}"
    stand.value = b"other"
    await two.caught_up()
    again = CampaignStream(two.members["b"], stand)
    assert (await again.until("elected")).term == elected.term
    assert two.members["b"].elections.get(ELECTION).leader.value == b"one"
    await again.resign()
    await first.responses.aclose()


async def test_a_turn_that_comes_while_a_renewal_is_under_way_is_told_besides_its_answer(two: World) -> None:
    a = two.members["a"]
    held = await a.locks.acquire(wanted(), "me")
    stream = LockStream(a, wanted())
    await stream.next()
    two.clock.advance(1)
    a.expiry._time.tick(counts=True)
    await a.locks.release(held.lock_key)  # the turn is there, and nobody has looked yet
    stream.requests.send(HoldLockRequest(renew=LockRenewal()))
    told = [type(await stream.next()).__name__ for _ in range(2)]
    assert told == ["LockAcquired", "LockAlive"]
    await stream.release()
