"""What each watcher has been sent and has put to use, which a rotation waits for."""

from __future__ import annotations

import asyncio

import pytest
from sira.identity.v1.identity_service_pb2 import WatchTrustBundlesResponse

from sira_grpc.errors import InvalidField, KernelStopping
from sira_grpc.identity.trust import CRL_NS
from tests.clocks import NANOS
from tests.unit.identity.world import World


async def revoke(world: World, serial: str = "abc") -> int:
    """Changes the state. Returns its revision."""
    await world.identity.records.revoke_serial(serial, cause="", actor="")
    return world.identity.trust.revision


async def test_a_watcher_gets_the_state_and_then_each_change(world: World) -> None:
    watching = world.watch()
    first = await watching.read()
    assert first.revision == world.identity.trust.revision
    for serial in ("a", "b", "c"):
        news = asyncio.create_task(watching.read())
        await world.turns()
        assert not news.done()
        assert (await asyncio.gather(news, revoke(world, serial)))[0].revision == world.identity.trust.revision
    await watching.leave()


async def test_a_slow_reader_gets_the_latest(world: World) -> None:
    watching = world.watch()
    await watching.read()
    for serial in ("a", "b", "c"):
        await revoke(world, serial)
    assert (await watching.read()).revision == world.identity.trust.revision
    news = asyncio.create_task(watching.read())
    await world.turns()
    assert not news.done()
    await revoke(world, "d")
    await news
    await watching.leave()


async def test_what_is_no_matter_of_trust_is_no_news(world: World) -> None:
    watching = world.watch()
    await watching.read()
    news = asyncio.create_task(watching.read())
    await world.join()
    await world.turns()
    assert not news.done()
    news.cancel()


async def test_who_acknowledges_is_waited_for(world: World) -> None:
    watchers = world.identity.watchers
    one, other = world.watch(), world.watch()
    assert len(watchers) == 2
    state = await one.read()
    assert watchers.pending(state.revision) == 2
    one.watcher.acknowledge(state.revision)
    assert watchers.pending(state.revision) == 1
    await other.use()
    assert watchers.pending(state.revision) == 0
    revision = await revoke(world)
    assert watchers.pending(revision) == 2
    await one.use()
    assert watchers.pending(revision) == 1
    await other.leave()
    assert (watchers.pending(revision), len(watchers)) == (0, 1)
    await one.leave()
    assert len(watchers) == 0


async def test_to_acknowledge_an_earlier_state_says_nothing_of_a_later_one(world: World) -> None:
    watching = world.watch()
    first = (await watching.use()).revision
    second = await revoke(world)
    await watching.read()
    watching.watcher.acknowledge(first)
    assert world.identity.watchers.pending(second) == 1
    watching.watcher.acknowledge(second)
    watching.watcher.acknowledge(first)
    assert watching.watcher.known == second
    await watching.leave()


async def test_what_was_not_sent_cannot_be_acknowledged(world: World) -> None:
    watching = world.watch()
    with pytest.raises(InvalidField, match=r"ack\.revision: must be of a state that was sent; the latest has 0"):
        watching.watcher.acknowledge(1)
    state = await watching.read()
    await revoke(world)
    with pytest.raises(InvalidField, match=f"the latest has {state.revision}"):
        watching.watcher.acknowledge(state.revision + 1)
    assert watching.watcher.known == 0
    await watching.leave()


async def test_who_does_not_acknowledge_knows_what_it_came_for_more_after(world: World) -> None:
    watching = world.watch(acknowledges=False)
    state = await watching.read()
    assert world.identity.watchers.pending(state.revision) == 1  # it may not have been sent yet
    news = asyncio.create_task(watching.read())
    await world.turns()
    assert world.identity.watchers.pending(state.revision) == 0
    watching.watcher.acknowledge(state.revision)
    news.cancel()


async def test_who_waits_for_watchers_is_told(world: World) -> None:
    told = []
    world.identity.watchers.advanced = lambda: told.append(1)
    watching = world.watch()
    assert len(told) == 1
    await watching.use()
    assert len(told) == 2
    await watching.leave()
    assert len(told) == 3


async def test_a_watch_ends_with_the_error_that_it_is_told(world: World) -> None:
    watching = world.watch()
    await watching.read()
    news = asyncio.create_task(watching.read())
    await world.turns()
    watching.watcher.fail(KernelStopping("stops"))
    with pytest.raises(KernelStopping):
        await news
    await watching.leave()


async def test_revocation_lists_are_sent_again_before_they_expire(world: World) -> None:
    held = await world.join(ttl=86_400)
    await world.identity.records.revoke_serial(held.serial, cause="", actor="")
    watching = world.watch()
    first = await watching.use()
    news = asyncio.create_task(watching.use())
    world.clock.advance(CRL_NS / NANOS)
    world.identity.watchers.look()
    await world.turns()
    assert not news.done()
    world.clock.advance(1)
    world.identity.watchers.look()
    again = await news
    assert again.revision == first.revision
    assert again.crls != first.crls
    await watching.leave()


async def test_two_hundred_watchers_are_sent_the_same_bytes(world: World) -> None:
    watchers = [world.identity.watchers.open(acknowledges=True) for _ in range(200)]
    feeds = [watcher.messages() for watcher in watchers]
    for _ in range(3):
        messages = [await anext(feed) for feed in feeds]
        assert len({id(message) for message in messages}) == 1
        revision = WatchTrustBundlesResponse.FromString(messages[0]).revision
        assert world.identity.watchers.pending(revision) == 200
        for watcher in watchers:
            watcher.acknowledge(revision)
        assert world.identity.watchers.pending(revision) == 0
        await revoke(world, f"{revision:x}")
    for feed, watcher in zip(feeds, watchers, strict=True):
        await feed.aclose()
        watcher.close()
