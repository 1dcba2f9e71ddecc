from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from sira.registry.v1.traffic_policy_pb2 import (
    LB_POLICY_LEAST_REQUEST,
    LB_POLICY_RING_HASH,
    LB_POLICY_WEIGHTED,
    LocalityFailover,
    SlowStart,
    TrafficPolicy,
)
from sira_client import (
    BalancedChannel,
    Client,
    Endpoint,
    HealthState,
    Locality,
    RetryPolicy,
    Service,
    Settings,
    UnavailableError,
    connect_insecure,
)

from tests.unit.client.echo import Echo
from tests.unit.client.in_memory_kernel import Failure, InMemoryKernel

SERVICE = "namespaces/default/services/echo"
ONE = "/test.Echo/One"
READY, CONNECTING, BROKEN, SHUTDOWN = (
    grpc.ChannelConnectivity.READY,
    grpc.ChannelConnectivity.CONNECTING,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
    grpc.ChannelConnectivity.SHUTDOWN,
)

Serve = Callable[..., Any]


def endpoint(echo: Echo, *, region: str = "", zone: str = "", weight: int = 0) -> Endpoint:
    """The registration of a server, healthy."""
    made = Endpoint(name=f"{SERVICE}/endpoints/{echo.name.decode()}", addresses=["127.0.0.1"], port=echo.port)
    made.weight = weight
    made.locality.region, made.locality.zone = region, zone
    made.status.state = HealthState.HEALTH_STATE_SERVING
    return made


def service(**policy: Any) -> Service:
    return Service(name=SERVICE, traffic_policy=TrafficPolicy(**policy))


@pytest.fixture
async def echoes() -> AsyncIterator[list[Echo]]:
    started = [Echo(name) for name in ("a", "b", "c")]
    for echo in started:
        await echo.start()
    yield started
    for echo in started:
        await echo.stop()


@pytest.fixture
async def served(kernel: InMemoryKernel, echoes: list[Echo]) -> InMemoryKernel:
    """Three healthy endpoints."""
    await kernel.put(*(endpoint(echo) for echo in echoes), service=service())
    return kernel


async def connected(channel: BalancedChannel, count: int) -> None:
    """Waits until so many endpoints are connected."""
    async with asyncio.timeout(20):
        while len(channel._balancer._connected()) != count:
            await channel._balancer.changed()


async def spread(channel: BalancedChannel, calls: int = 30, **arguments: Any) -> Counter[str]:
    """Who answers so many calls."""
    callee = channel.unary_unary(ONE)
    return Counter([(await callee(b"", timeout=20, **arguments)).decode() for _ in range(calls)])


async def call(channel: BalancedChannel, request: bytes = b"", **arguments: Any) -> str:
    answer: bytes = await channel.unary_unary(ONE)(request, timeout=20, **arguments)
    return answer.decode()


async def test_round_robin_by_default(client: Client, served: InMemoryKernel) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    assert await spread(channel) == {"a": 10, "b": 10, "c": 10}


async def test_the_first_call_waits_for_the_first_connection(client: Client, served: InMemoryKernel) -> None:
    async with client.channel("echo") as channel:
        assert channel.get_state() is CONNECTING
        assert await call(channel) in {"a", "b", "c"}
        assert channel.get_state() is READY


async def test_a_policy_takes_effect_at_once(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    await served.put(endpoint(echoes[0], weight=10_000), service=service(lb_policy=LB_POLICY_WEIGHTED))
    await channel._balancer.changed()
    assert (await spread(channel))["a"] > 20


async def test_an_endpoint_that_drains_gets_no_call_more_and_finishes_what_it_has(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    under_way = [channel.unary_unary(ONE)(b"wait") for _ in range(3)]
    for echo in echoes:
        await echo.under_way.acquire()
    draining = endpoint(echoes[0])
    draining.status.state = HealthState.HEALTH_STATE_DRAINING
    await served.put(draining)
    await connected(channel, 2)
    assert set(await spread(channel)) == {"b", "c"}
    for echo in echoes:
        echo.release.set()
    assert {await one for one in under_way} == {b"a", b"b", b"c"}
    await served.put(endpoint(echoes[0]))
    await connected(channel, 3)
    assert set(await spread(channel)) == {"a", "b", "c"}


async def test_an_endpoint_that_is_gone_is_disconnected(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    gone = channel._balancer._pool[endpoint(echoes[0]).name]
    await served.remove(endpoint(echoes[0]).name)
    await connected(channel, 2)
    await asyncio.gather(*channel._balancer._pool._retiring)
    assert gone.channel.get_state() is SHUTDOWN
    assert set(await spread(channel)) == {"b", "c"}


async def test_an_endpoint_that_moved_is_followed(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    await served.remove(endpoint(echoes[1]).name, endpoint(echoes[2]).name)
    channel = client.channel("echo")
    assert await call(channel) == "a"
    moved = endpoint(echoes[0])
    moved.port = echoes[1].port
    await served.put(moved)
    await channel._balancer.changed()
    assert await call(channel) == "b"


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


async def test_the_other_shapes_of_call_are_balanced_too(client: Client, served: InMemoryKernel) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    first = {(await channel.unary_stream("/test.Echo/Out")(b"").read()) for _ in range(3)}
    assert first == {b"a0", b"b0", b"c0"}


async def test_a_service_that_is_not_there_fails_calls_until_it_is(
    client: Client, kernel: InMemoryKernel, echoes: list[Echo]
) -> None:
    channel = client.channel("echo")
    with pytest.raises(UnavailableError, match="echo: as the test wants it"):
        await call(channel)
    assert channel.get_state() is BROKEN
    patient = asyncio.ensure_future(call(channel, wait_for_ready=True))
    await kernel.put(endpoint(echoes[0]), service=service())
    assert await patient == "a"


async def test_a_service_that_is_deleted_and_comes_back(
    client: Client, served: InMemoryKernel, echoes: list[Echo], caplog: pytest.LogCaptureFixture
) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    served.service = None
    served.failures["watching"].append(Failure(grpc.StatusCode.NOT_FOUND, "SERVICE_NOT_FOUND"))
    await served.drop_streams()
    await channel.wait_for_state_change(READY)
    with pytest.raises(UnavailableError, match="echo: as the test wants it"):
        await call(channel)
    await served.put(service=service())
    await connected(channel, 3)
    assert await call(channel) in {"a", "b", "c"}
    assert caplog.text.count("cannot follow") == 1


async def test_a_kernel_that_lost_its_data_fails_no_call(client: Client, served: InMemoryKernel) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    served.service = None
    await served.drop_streams()
    await served.until(lambda: len(served.seen["Watch"]) >= 4)
    assert set(await spread(channel)) == {"a", "b", "c"}


async def test_a_watch_that_is_refused_leaves_what_is_known(client: Client, served: InMemoryKernel) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    served.failures["Watch"] += [Failure(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")] * 2
    await served.drop_streams()
    await served.until(lambda: len(served.seen["Watch"]) >= 4)
    assert set(await spread(channel)) == {"a", "b", "c"}


async def test_calls_go_on_while_the_kernel_is_away(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    await served.stop()
    assert set(await spread(channel)) == {"a", "b", "c"}
    await served.remove(endpoint(echoes[0]).name)
    await served.start()
    await connected(channel, 2)
    assert set(await spread(channel)) == {"b", "c"}


async def test_no_healthy_endpoint_fails_at_once(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    for echo in echoes:
        sick = endpoint(echo)
        sick.status.state = HealthState.HEALTH_STATE_NOT_SERVING
        await served.put(sick)
    channel = client.channel("echo")
    with pytest.raises(UnavailableError, match="none of its 3 endpoints is healthy"):
        await call(channel)


async def test_no_reachable_endpoint_fails_at_once(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    for echo in echoes:
        await echo.stop()
    channel = client.channel("echo")
    with pytest.raises(UnavailableError, match="none of its healthy endpoints can be reached"):
        await call(channel)
    assert channel.get_state() is BROKEN


async def test_a_kernel_that_is_not_there_is_not_waited_for_for_ever(kernel: InMemoryKernel) -> None:
    await kernel.stop()
    async with connect_insecure(kernel.address, settings=Settings(default_timeout=0.05)) as client:
        with pytest.raises(UnavailableError, match="the kernel has not told of it yet"):
            await client.channel("echo").unary_unary(ONE)(b"")


FAILOVER = {"locality_failover": LocalityFailover()}
HERE = Locality(region="eu", zone="a")


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


async def test_connectivity_is_told(client: Client, served: InMemoryKernel) -> None:
    channel = client.channel("echo")
    assert channel.get_state(try_to_connect=True) is CONNECTING
    await channel.channel_ready()
    assert channel.get_state() is READY
    assert not channel.closed
    await channel.close()
    await channel.close()
    assert channel.get_state() is SHUTDOWN
    assert channel.closed
    with pytest.raises(grpc.aio.UsageError, match="closed"):
        channel.unary_unary(ONE)(b"")


async def test_closing_ends_the_wait_for_a_connection(client: Client, kernel: InMemoryKernel) -> None:
    channel = client.channel("echo")
    waiting = [asyncio.ensure_future(channel.channel_ready()), asyncio.ensure_future(channel.channel_ready())]
    changing = asyncio.ensure_future(channel.wait_for_state_change(BROKEN))
    await channel.wait_for_state_change(CONNECTING)
    await channel.close()
    for waiter in waiting:
        with pytest.raises(grpc.aio.UsageError, match="closed"):
            await waiter
    await changing


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


async def test_closing_the_client_closes_its_channels(served: InMemoryKernel) -> None:
    async with connect_insecure(served.address) as client:
        closed, still_open = client.channel("echo"), client.channel("echo")
        await closed.close()
        client.channel("echo")
        assert closed not in client._owned
        assert await call(still_open) in {"a", "b", "c"}
    assert still_open.closed


async def test_interceptors_and_options_reach_each_connection(client: Client, served: InMemoryKernel) -> None:
    class Seen(grpc.aio.UnaryUnaryClientInterceptor):
        count = 0

        async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            Seen.count += 1
            return await continuation(details, request)

    channel = client.channel("echo", interceptors=[Seen()], options=[("grpc.max_receive_message_length", 0)])
    with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_EXHAUSTED"):
        await call(channel)
    assert Seen.count == 1


async def test_a_channel_has_no_deadline_unless_it_is_given_one(client: Client, served: InMemoryKernel) -> None:
    assert client.channel("echo").unary_unary(ONE)(b"").time_remaining() is None
    bounded = client.channel("echo", default_timeout=7).unary_unary(ONE)(b"")
    assert bounded.time_remaining() is not None
