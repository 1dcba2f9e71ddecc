from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from sira_client import BalancedChannel, UnavailableError, connect_insecure
from sira_client.balanced.subchannel import SubChannel

from tests.unit.client.balanced.echo_service import ONE, call, connected, endpoint, spread
from tests.unit.client.echo import Echo
from tests.unit.client.identity.given import quick
from tests.unit.client.identity.trust import CALLER, ECHO, Root
from tests.unit.client.identity.world import World, calling, world
from tests.unit.client.in_memory_kernel import InMemoryKernel


@pytest.fixture
async def here(root: Root) -> AsyncIterator[World]:
    async with world(root) as made:
        yield made


def subchannels(channel: BalancedChannel) -> set[SubChannel]:
    return set(channel._balancer._pool._subchannels.values())


async def all_replaced(channel: BalancedChannel, before: set[SubChannel]) -> None:
    """Waits until none of the connections is one of those from before, and all are ready."""
    async with asyncio.timeout(20):
        while subchannels(channel) & before or not all(one.ready for one in subchannels(channel)):
            await channel._balancer.changed()


async def test_endpoints_are_called_over_mutual_tls_by_default(here: World) -> None:
    for mtls in (None, True):
        channel = here.client.channel("echo", mtls=mtls)
        await connected(channel, 2)
        assert await spread(channel, 6) == {"e0": 3, "e1": 3}


async def test_who_is_not_the_service_is_not_called(here: World, root: Root) -> None:
    here.served.give(root.identity(CALLER))
    await here.served.taken()
    with pytest.raises(UnavailableError, match="can be reached"):
        await call(here.client.channel("echo"))


async def test_no_call_fails_while_identities_are_renewed(here: World, root: Root) -> None:
    channel = here.client.channel("echo")
    await connected(channel, 2)
    async with calling(channel.unary_unary(ONE)) as done:
        for _ in range(10):
            before, so_far = subchannels(channel), done[0]
            here.give_all(root)
            await all_replaced(channel, before)
            while done[0] < so_far + 20:
                await call(channel)
    assert sum(echo.calls for echo in here.echoes) >= done[0] >= 200


async def test_no_call_fails_while_the_old_root_disappears(here: World, root: Root, next_root: Root) -> None:
    channel = here.client.channel("echo")
    await connected(channel, 2)
    async with calling(channel.unary_unary(ONE)):
        for issuing, *others in ((root, next_root), (next_root, root), (next_root,)):
            before = subchannels(channel)
            here.give_all(issuing, *others)
            await here.settle()
            await all_replaced(channel, before)
            await call(channel)


async def test_calls_and_streams_under_way_finish_where_they_are(here: World, root: Root) -> None:
    channel = here.client.channel("echo")
    await connected(channel, 2)
    slow = [channel.unary_unary(ONE)(b"wait", timeout=20) for _ in range(4)]
    for echo in here.echoes:
        for _ in range(2):
            await echo.under_way.acquire()
    stream = channel.stream_stream("/test.Echo/Both")()
    await stream.write(b"1")
    assert str(await stream.read()).endswith("1'")
    before = subchannels(channel)
    here.renew(root)
    await all_replaced(channel, before)
    assert channel._balancer._pool.in_flight == {one.name: one._calls for one in before}
    for echo in here.echoes:
        echo.release.set()
    assert sorted([await one for one in slow]) == [b"e0", b"e0", b"e1", b"e1"]
    await stream.write(b"2")
    assert str(await stream.read()).endswith("2'")
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    while channel._balancer._pool._retiring:
        await asyncio.wait(channel._balancer._pool._retiring)
    assert {one.channel.get_state() for one in before} == {grpc.ChannelConnectivity.SHUTDOWN}


async def test_an_endpoint_that_the_old_identity_cannot_reach_is_reached_with_the_new_one(
    here: World, root: Root, next_root: Root
) -> None:
    """The servers have a root that the caller does not know, until it is renewed."""
    here.served.give(next_root.identity(ECHO, root))
    await here.served.taken()
    channel = here.client.channel("echo")
    with pytest.raises(UnavailableError, match="can be reached"):
        await call(channel)
    here.renew(root, next_root)
    await here.caller.taken()
    assert (await call(channel)).startswith("e")


async def test_the_old_connection_serves_until_the_new_one_is_up(here: World, root: Root, next_root: Root) -> None:
    channel = here.client.channel("echo")
    await connected(channel, 2)
    before = subchannels(channel)
    here.caller.give(next_root.identity(CALLER, root))  # with which the servers let nobody in
    await here.caller.taken()
    successors = channel._balancer._pool._successors
    async with asyncio.timeout(20):
        while not successors or not all(one.broken for one in successors.values()):
            await channel._balancer.changed()
    assert await spread(channel, 6) == {"e0": 3, "e1": 3}
    assert subchannels(channel) == before
    here.renew(root)
    await all_replaced(channel, before)
    assert successors == {}
    assert await spread(channel, 6) == {"e0": 3, "e1": 3}


async def test_an_endpoint_that_leaves_while_it_is_renewed_is_let_go(here: World, root: Root, next_root: Root) -> None:
    channel = here.client.channel("echo")
    await connected(channel, 2)
    here.caller.give(next_root.identity(CALLER, root))
    await here.caller.taken()
    async with asyncio.timeout(20):
        while len(channel._balancer._pool._successors) < 2:
            await channel._balancer.changed()
    gone = endpoint(here.echoes[0])
    await here.kernel.remove(gone.name)
    await connected(channel, 1)
    assert gone.name not in channel._balancer._pool._successors
    assert await spread(channel, 4) == {"e1": 4}


async def test_a_renewal_picks_up_where_it_was(here: World, root: Root) -> None:
    """A new connection does not make the picker begin again: turns go on."""
    channel = here.client.channel("echo")
    await connected(channel, 2)
    picker = channel._balancer._picker
    before = subchannels(channel)
    here.renew(root)
    await all_replaced(channel, before)
    assert channel._balancer._picker is picker


async def test_other_credentials_and_plaintext_are_still_to_be_had(here: World, root: Root) -> None:
    plain = Echo("plain")
    await plain.start()
    await here.kernel.remove(*(endpoint(echo).name for echo in here.echoes))
    await here.kernel.put(endpoint(plain))
    assert await call(here.client.channel("echo", mtls=False)) == "plain"
    with pytest.raises(ValueError, match="mtls: must not be given with credentials"):
        here.client.channel("echo", mtls=True, credentials=here.caller.channel_credentials())
    await here.kernel.remove(endpoint(plain).name)
    await here.kernel.put(endpoint(here.echoes[0]))
    options = (("grpc.ssl_target_name_override", "echo.default.example.org"),)
    own = here.client.channel("echo", credentials=here.caller.channel_credentials(), options=options)
    assert await call(own) == "e0"
    await plain.stop()


async def test_without_an_identity_there_is_no_mutual_tls(kernel: InMemoryKernel) -> None:
    async with connect_insecure(kernel.address, settings=quick()) as client:
        with pytest.raises(ValueError, match="mtls: the client has no identity"):
            client.channel("echo", mtls=True)
