from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from sira.registry.v1.circuit_breakers_pb2 import CircuitBreakers
from sira.registry.v1.route_pb2 import Destination, Route, Split
from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira_client import BalancedChannel, Client, HealthState

from tests.unit.client.balanced.echo_service import ONE, connected, endpoint, service, spread
from tests.unit.client.echo import Echo
from tests.unit.client.in_memory_kernel import InMemoryKernel

AFFINITY = SessionAffinity(cookie="home")


@pytest.fixture
async def channel(client: Client, served: InMemoryKernel) -> BalancedChannel:
    await served.put(service=service(session_affinity=AFFINITY))
    made = client.channel("echo")
    await connected(made, 3)
    return made


async def session(channel: BalancedChannel, cookie: str = "") -> tuple[str, str | None]:
    """Who answers a call, and the cookie that comes with the answer."""
    made = channel.unary_unary(ONE)(b"", metadata=(("cookie", cookie),) if cookie else None, timeout=20)
    answer: bytes = await made
    found = (await made.initial_metadata()).get("set-cookie")
    assert found is None or isinstance(found, str)
    return answer.decode(), found.split(";")[0] if found else None


async def test_a_session_stays_where_it_began(channel: BalancedChannel) -> None:
    homes: set[str] = set()
    for _ in range(6):
        home, cookie = await session(channel)
        assert cookie is not None
        homes.add(home)
        assert Counter([await session(channel, f"x=y; {cookie}") for _ in range(5)]) == {(home, None): 5}
    assert homes == {"a", "b", "c"}


async def test_other_metadata_of_the_answer_is_there_too(channel: BalancedChannel) -> None:
    made = channel.unary_unary(ONE)(b"")
    await made
    assert (await made.initial_metadata())["initial"] == "yes"


async def test_streams_have_sessions_too(channel: BalancedChannel) -> None:
    made = channel.unary_stream("/test.Echo/Out")(b"")
    first = await made.read()
    cookie = str((await made.initial_metadata())["set-cookie"]).split(";")[0]
    for _ in range(4):
        again = channel.unary_stream("/test.Echo/Out")(b"", metadata=(("cookie", cookie),))
        assert await again.read() == first
        assert (await again.initial_metadata()).get("set-cookie") is None


async def test_a_session_goes_on_while_its_endpoint_drains(
    channel: BalancedChannel, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    home, cookie = await session(channel)
    assert cookie is not None
    draining = endpoint(next(echo for echo in echoes if echo.name.decode() == home))
    draining.status.state = HealthState.HEALTH_STATE_DRAINING
    await served.put(draining)
    await connected(channel, 2)
    assert home not in await spread(channel)
    assert Counter([await session(channel, cookie) for _ in range(5)]) == {(home, None): 5}
    await served.remove(draining.name)
    async with asyncio.timeout(20):
        while channel._balancer._pool.get(draining.name) is not None:
            await channel._balancer.changed()
    elsewhere, fresh = await session(channel, cookie)
    assert elsewhere != home
    assert fresh not in {None, cookie}


async def test_a_session_whose_endpoint_is_broken_goes_elsewhere(channel: BalancedChannel, echoes: list[Echo]) -> None:
    home, cookie = await session(channel)
    assert cookie is not None
    await next(echo for echo in echoes if echo.name.decode() == home).stop()
    await connected(channel, 2)
    elsewhere, fresh = await session(channel, cookie)
    assert elsewhere != home
    assert fresh is not None


async def test_a_session_waits_for_the_connection_of_its_endpoint(
    client: Client, channel: BalancedChannel, served: InMemoryKernel
) -> None:
    home, cookie = await session(channel)
    assert cookie is not None
    for _ in range(5):
        async with client.channel("echo") as fresh:
            assert await session(fresh, cookie) == (home, None)


async def test_a_session_stays_with_its_cluster(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    for echo, version in zip(echoes, ("v1", "v2", "v2"), strict=True):
        made = endpoint(echo)
        made.version = version
        await served.put(made)
    splits = [Split(weight=1, destination=Destination(version=version)) for version in ("v1", "v2")]
    policy = service(session_affinity=AFFINITY, routes=[Route(splits=splits)], circuit_breakers=CircuitBreakers())
    await served.put(service=policy)
    channel = client.channel("echo")
    for _ in range(6):
        home, cookie = await session(channel)
        assert cookie is not None
        assert {await session(channel, cookie) for _ in range(5)} == {(home, None)}


async def test_a_cookie_of_nobody_gets_another(channel: BalancedChannel) -> None:
    home, cookie = await session(channel, "home=bm9ib2R5OjE=")
    assert home in {"a", "b", "c"}
    assert cookie is not None


async def test_calls_beside_the_path_have_no_session(client: Client, served: InMemoryKernel) -> None:
    await served.put(service=service(session_affinity=SessionAffinity(cookie="home", path="/other/")))
    channel = client.channel("echo")
    assert (await session(channel))[1] is None


async def test_a_call_that_fails_tells_so(channel: BalancedChannel) -> None:
    made = channel.unary_unary(ONE)(b"fail:INTERNAL")
    assert await made.code() is grpc.StatusCode.INTERNAL
    assert (await made.initial_metadata()).get("set-cookie") is None
