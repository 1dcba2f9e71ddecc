from __future__ import annotations

import asyncio

from sira.registry.v1.traffic_policy_pb2 import (
    LB_POLICY_LEAST_REQUEST,
    LB_POLICY_RING_HASH,
    SlowStart,
)
from sira_client import (
    Client,
    Settings,
    connect_insecure,
)

from tests.unit.client.balanced.echo_service import (
    FAILOVER,
    HERE,
    ONE,
    call,
    connected,
    endpoint,
    service,
    spread,
)
from tests.unit.client.echo import Echo
from tests.unit.client.in_memory_kernel import InMemoryKernel


async def test_round_robin_by_default(client: Client, served: InMemoryKernel) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    assert await spread(channel) == {"a": 10, "b": 10, "c": 10}


async def test_near_endpoints_are_preferred_and_far_ones_not_even_connected(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    near, region, far = echoes
    await served.put(
        endpoint(near, region="eu", zone="a"),
        endpoint(region, region="eu", zone="b"),
        endpoint(far, region="us", zone="a"),
        service=service(**FAILOVER),
    )
    channel = client.channel("echo", locality=HERE)
    assert await spread(channel) == {"a": 30}
    assert [c.endpoint.name for c in channel._balancer._connected()] == [endpoint(near).name]


async def test_least_request_leaves_out_who_is_busy(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    await served.remove(endpoint(echoes[2]).name)
    await served.put(service=service(lb_policy=LB_POLICY_LEAST_REQUEST))
    channel = client.channel("echo")
    await connected(channel, 2)
    under_way = channel.unary_unary(ONE)(b"wait")
    acquired = [asyncio.ensure_future(echo.under_way.acquire()) for echo in echoes[:2]]
    await asyncio.wait(acquired, return_when=asyncio.FIRST_COMPLETED)
    busy = echoes[0] if acquired[0].done() else echoes[1]
    for task in acquired:
        task.cancel()
    assert busy.name.decode() not in await spread(channel)
    busy.release.set()
    await under_way
    assert set(await spread(channel)) == {"a", "b"}
    assert not channel._balancer._pool.in_flight


async def test_ring_hash_goes_by_the_header(client: Client, served: InMemoryKernel) -> None:
    await served.put(service=service(lb_policy=LB_POLICY_RING_HASH))
    channel = client.channel("echo")
    await connected(channel, 3)
    homes = {key: await spread(channel, 3, metadata=(("sira-hash-key", key),)) for key in "stuvwxyz"}
    assert all(len(home) == 1 for home in homes.values())
    assert len({next(iter(home)) for home in homes.values()}) > 1
    assert len(await spread(channel)) == 3


async def test_ring_hash_goes_by_a_function_of_the_call(client: Client, served: InMemoryKernel) -> None:
    await served.put(service=service(lb_policy=LB_POLICY_RING_HASH))
    channel = client.channel("echo", hash_key=lambda info: info.request.decode())
    await connected(channel, 3)
    assert len({await call(channel, b"one") for _ in range(5)}) == 1
    assert len({await call(channel, b"%d" % i) for i in range(20)}) == 3


async def test_a_subset_is_kept_by_client_id(client: Client, served: InMemoryKernel) -> None:
    await served.put(service=service(subset_size=1))
    for name in ("me", "you", "them"):
        one, same = client.channel("echo", client_id=name), client.channel("echo", client_id=name)
        assert (await spread(one)).keys() == (await spread(same)).keys()
        assert len(one._balancer._connected()) == 1


class ManualClock:
    """A clock that shows what it is told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * 10**9

    def time_ns(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def test_a_slow_start_goes_on_without_news(served: InMemoryKernel, echoes: list[Echo]) -> None:
    clock = ManualClock()
    cold = endpoint(echoes[0])
    cold.status.serving_time.FromNanoseconds(clock.now)
    slow_start = SlowStart()
    slow_start.window.FromMilliseconds(100)
    await served.put(cold, service=service(slow_start=slow_start))
    async with connect_insecure(served.address, settings=Settings(clock=clock)) as client:
        channel = client.channel("echo")
        await connected(channel, 3)
        balancer = channel._balancer
        weights = {c.endpoint.name: c.weight for c in balancer._candidates}
        assert weights[cold.name] == 10_000
        clock.now += 10**9
        while any(c.weight != 100_000 for c in balancer._candidates):
            await balancer.changed()
        assert balancer._ramp is None
