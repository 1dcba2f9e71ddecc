from __future__ import annotations

from collections import Counter

import grpc
import pytest
from sira_client import (
    Client,
    RetryPolicy,
    UnavailableError,
)

from tests.unit.client.balanced.echo_service import (
    BROKEN,
    CONNECTING,
    FAILOVER,
    HERE,
    ONE,
    READY,
    call,
    connected,
    endpoint,
    service,
    spread,
)
from tests.unit.client.echo import Echo
from tests.unit.client.in_memory_kernel import InMemoryKernel


async def test_a_broken_connection_is_left_out_before_the_kernel_knows(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    await echoes[0].stop()
    await connected(channel, 2)
    assert await spread(channel) == {"b": 15, "c": 15}
    await echoes[0].start()
    await connected(channel, 3)
    assert await spread(channel) == {"a": 10, "b": 10, "c": 10}


async def test_a_killed_endpoint_fails_no_idempotent_call(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    channel = client.channel("echo", retry=RetryPolicy(idempotent={ONE}))
    await connected(channel, 3)
    calls = [channel.unary_unary(ONE)(b"wait") for _ in range(30)]
    for echo in echoes:
        for _ in range(10):
            await echo.under_way.acquire()
    for echo in echoes[1:]:
        echo.release.set()
    await echoes[0].stop()
    assert Counter([await one for one in calls]).keys() == {b"b", b"c"}


async def test_without_that_only_calls_in_flight_there_fail(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    calls = [channel.unary_unary(ONE)(b"wait") for _ in range(6)]
    for echo in echoes:
        echo.release.set() if echo is not echoes[0] else None
        for _ in range(2):
            await echo.under_way.acquire()
    await echoes[0].stop()
    codes = Counter([await one.code() for one in calls])
    assert codes == {grpc.StatusCode.OK: 4, grpc.StatusCode.UNAVAILABLE: 2}


async def test_a_call_that_waits_goes_back_to_an_endpoint_that_comes_back(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    await served.remove(endpoint(echoes[1]).name, endpoint(echoes[2]).name)
    channel = client.channel("echo", retry=RetryPolicy(idempotent=True))
    waiting = channel.unary_unary(ONE)(b"wait", wait_for_ready=True, timeout=20)
    await echoes[0].under_way.acquire()
    await echoes[0].stop()
    echoes[0].release.set()
    await channel.wait_for_state_change(READY)
    await echoes[0].start()
    assert await waiting == b"a"


async def test_no_reachable_endpoint_fails_at_once(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    for echo in echoes:
        await echo.stop()
    channel = client.channel("echo")
    with pytest.raises(UnavailableError, match="none of its healthy endpoints can be reached"):
        await call(channel)
    assert channel.get_state() is BROKEN


async def test_a_locality_that_breaks_is_replaced_before_the_kernel_knows(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    near, region, far = echoes
    await served.put(
        endpoint(near, region="eu", zone="a"),
        endpoint(region, region="eu", zone="b"),
        endpoint(far, region="us", zone="a"),
        service=service(**FAILOVER),
    )
    channel = client.channel("echo", locality=HERE, retry=RetryPolicy(idempotent=True))
    assert await call(channel) == "a"
    await near.stop()
    assert await spread(channel) == {"b": 30}
    await region.stop()
    assert await spread(channel) == {"c": 30}


async def test_a_tier_that_appears_while_all_is_broken_stands_by(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    near, _, far = echoes
    await served.remove(*(endpoint(echo).name for echo in echoes))
    await near.stop()
    await served.put(endpoint(near, region="eu", zone="a"), service=service(**FAILOVER))
    channel = client.channel("echo", locality=HERE)
    await channel.wait_for_state_change(CONNECTING)
    assert channel.get_state() is BROKEN
    await served.put(endpoint(far, region="us"))
    await channel.channel_ready()
    assert await call(channel) == "c"
