from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from sira.registry.v1.circuit_breakers_pb2 import CircuitBreakers
from sira.registry.v1.fault_injection_pb2 import FaultAbort, FaultInjection
from sira.registry.v1.retry_policy_pb2 import RETRY_ON_UNAVAILABLE, RetryPolicy
from sira.registry.v1.route_pb2 import Destination, HeaderMatch, Route, RouteMatch, Split
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_RING_HASH
from sira_client import BalancedChannel, Client, Endpoint, UnavailableError
from sira_client.balanced.breakers import Breakers, CircuitOpenError

from tests.unit.client.balanced.echo_service import (
    BROKEN,
    CONNECTING,
    ONE,
    READY,
    SERVICE,
    call,
    connected,
    endpoint,
    service,
    spread,
)
from tests.unit.client.echo import Echo
from tests.unit.client.in_memory_kernel import InMemoryKernel


def of_version(echo: Echo, version: str, **labels: str) -> Endpoint:
    made = endpoint(echo)
    made.version = version
    made.metadata.update(labels)
    return made


def to(version: str, weight: int = 1, **labels: str) -> Split:
    return Split(weight=weight, destination=Destination(version=version, metadata=labels))


@pytest.fixture
async def versions(served: InMemoryKernel, echoes: list[Echo]) -> InMemoryKernel:
    """a is of version v1, b and c are of v2."""
    a, b, c = echoes
    await served.put(of_version(a, "v1"), of_version(b, "v2", tier="x"), of_version(c, "v2", tier="y"))
    return served


async def test_the_first_call_already_follows_the_policy(client: Client, versions: InMemoryKernel) -> None:
    await versions.put(service=service(routes=[Route(splits=[to("v1")])]))
    for _ in range(10):
        async with client.channel("echo") as channel:
            assert await call(channel) == "a"


async def test_calls_go_where_their_headers_say(client: Client, versions: InMemoryKernel) -> None:
    beta = RouteMatch(headers=[HeaderMatch(name="tier", exact="beta")])
    routes = [Route(matches=[beta], splits=[to("v2")]), Route(splits=[to("v1")])]
    await versions.put(service=service(routes=routes))
    channel = client.channel("echo")
    assert await spread(channel) == {"a": 30}
    assert await spread(channel, metadata=(("tier", "beta"),)) == {"b": 15, "c": 15}


async def test_calls_are_split_by_weight_and_labels(client: Client, versions: InMemoryKernel) -> None:
    await versions.put(service=service(routes=[Route(splits=[to("v1", 30), to("v2", 10, tier="y"), to("v2", 0)])]))
    channel = client.channel("echo")
    counts = await spread(channel, 200)
    assert counts.keys() == {"a", "c"}
    assert abs(counts["c"] - 50) < 31  # five standard deviations; chance is seeded


async def test_streams_take_routes_too(client: Client, versions: InMemoryKernel) -> None:
    await versions.put(service=service(routes=[Route(splits=[to("v1")])]))
    channel = client.channel("echo")
    assert {await channel.unary_stream("/test.Echo/Out")(b"").read() for _ in range(6)} == {b"a0"}
    assert await channel.stream_unary("/test.Echo/In")(iter([b"x"])) == b"ax"


async def test_subsets_share_connections(client: Client, versions: InMemoryKernel, echoes: list[Echo]) -> None:
    await versions.put(service=service(routes=[Route(splits=[to("v1"), to("v2")])]))
    channel = client.channel("echo")
    await spread(channel)
    balancers = channel._clusters._balancers.values()
    assert len({id(balancer.backend) for balancer in balancers}) == 1
    assert len(balancers) == 3


async def test_a_subset_without_endpoints_fails_calls(client: Client, versions: InMemoryKernel) -> None:
    await versions.put(service=service(routes=[Route(splits=[to("v3")])]))
    channel = client.channel("echo")
    with pytest.raises(UnavailableError, match=r"echo.default\|version=v3: none of its 0 endpoints is healthy"):
        await call(channel)
    assert channel.get_state() is BROKEN
    await versions.put(of_version(Echo("d"), "v4"))
    with pytest.raises(UnavailableError):
        await call(channel)


async def test_splits_shift_under_load_and_fail_no_call(client: Client, versions: InMemoryKernel) -> None:
    channel = client.channel("echo")
    stop, answers = asyncio.Event(), Counter[str]()

    async def load() -> None:
        while not stop.is_set():
            answers[await call(channel)] += 1

    callers = [asyncio.create_task(load()) for _ in range(4)]
    for share in (0, 1, 10, 50, 99, 100, 50, 0, 100):
        splits = [to("v1", 100 - share), to("v2", share)]
        await versions.put(service=service(routes=[Route(splits=splits)]))
        await follows(channel, 2 if 0 < share < 100 else 1)
    stop.set()
    await asyncio.gather(*callers)
    assert set(await spread(channel)) == {"b", "c"}
    assert len(channel._clusters._balancers) == 2
    await versions.put(service=service())
    await follows(channel, 0)
    assert set(await spread(channel)) == {"a", "b", "c"}
    assert len(channel._clusters._balancers) == 1
    assert answers.total() > 0


async def follows(channel: BalancedChannel, splits: int) -> None:
    """Waits until a policy with so many targets is in effect."""
    async with asyncio.timeout(20):
        while True:
            active = channel._selector._active
            if active is not None and len(active.table.targets if active.table else ()) == splits:
                return
            await channel._selector.changed()


async def test_a_split_to_the_service_itself(client: Client, versions: InMemoryKernel) -> None:
    itself = Split(weight=1, destination=Destination(service=SERVICE))
    await versions.put(service=service(routes=[Route(splits=[itself, Split(weight=1)])]))
    channel = client.channel("echo")
    assert set(await spread(channel)) == {"a", "b", "c"}
    assert channel.get_state() is READY


async def test_injected_faults(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    aborts = FaultInjection(abort=FaultAbort(code=9, percent=100))
    route = Route(matches=[RouteMatch(path_exact=ONE)], fault=aborts)
    await served.put(service=service(routes=[route], retry=RetryPolicy(retry_on=[RETRY_ON_UNAVAILABLE])))
    channel = client.channel("echo")
    with pytest.raises(grpc.aio.AioRpcError, match="Fault injected") as caught:
        await call(channel)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert sum(echo.calls for echo in echoes) == 0
    assert await channel.unary_stream("/test.Echo/Out")(b"").read() in {b"a0", b"b0", b"c0"}


async def test_the_policys_timeout(client: Client, served: InMemoryKernel) -> None:
    policy = service()
    policy.traffic_policy.timeout.FromMilliseconds(50)
    await served.put(service=policy)
    channel = client.channel("echo")
    assert await channel.unary_unary(ONE)(b"wait").code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_policys_retries(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    await served.put(service=service(retry=RetryPolicy(max_attempts=3, retry_on=[RETRY_ON_UNAVAILABLE])))
    channel = client.channel("echo")
    await connected(channel, 3)
    with pytest.raises(grpc.aio.AioRpcError, match="as asked"):
        await call(channel, b"fail:UNAVAILABLE")
    assert [echo.calls for echo in echoes] == [1, 1, 1]


async def test_retries_wait_for_an_endpoint_that_comes(
    client: Client, served: InMemoryKernel, echoes: list[Echo]
) -> None:
    retry = RetryPolicy(max_attempts=5, retry_on=[RETRY_ON_UNAVAILABLE])
    retry.initial_backoff.FromMilliseconds(1)
    await served.put(service=service(retry=retry))
    for echo in echoes:
        await echo.stop()
    channel = client.channel("echo")
    with pytest.raises(UnavailableError, match="can be reached"):
        await call(channel)


async def test_too_many_calls_are_refused_at_once(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    await served.put(
        service=service(
            circuit_breakers=CircuitBreakers(max_requests=3), retry=RetryPolicy(retry_on=[RETRY_ON_UNAVAILABLE])
        )
    )
    channel, other = client.channel("echo"), client.channel("echo")
    await connected(channel, 3)
    await connected(other, 3)
    waiting = [channel.unary_unary(ONE)(b"wait") for _ in range(2)]
    waiting.append(other.unary_unary(ONE)(b"wait"))
    for echo in echoes:
        echo.release.set()
    refused = channel.unary_unary(ONE)(b"", wait_for_ready=True)
    with pytest.raises(CircuitOpenError, match=r"echo.default: 3 calls are under way"):
        await refused
    stream = channel.unary_stream("/test.Echo/Out")(b"")
    assert await asyncio.gather(*waiting)
    assert await stream.code() is grpc.StatusCode.UNAVAILABLE
    assert await call(channel) in {"a", "b", "c"}
    assert client._breakers.of("echo.default").under_way == 0


def test_breakers_live_as_long_as_they_are_used() -> None:
    breakers = Breakers()
    kept = breakers.of("a")
    assert breakers.of("a") is kept
    breakers.of("b")
    assert list(breakers._breakers) == ["a"]
    kept.under_way = 1024
    with pytest.raises(CircuitOpenError):
        kept.check(CircuitBreakers())


async def test_ring_hash_goes_by_the_header_of_the_policy(client: Client, served: InMemoryKernel) -> None:
    await served.put(service=service(lb_policy=LB_POLICY_RING_HASH, hash_header="user"))
    channel = client.channel("echo")
    await connected(channel, 3)
    homes = {key: await spread(channel, 3, metadata=(("user", key),)) for key in "stuvwxyz"}
    assert all(len(home) == 1 for home in homes.values())
    assert len({next(iter(home)) for home in homes.values()}) > 1
    assert len(await spread(channel, metadata=(("sira-hash-key", "s"),))) == 3


async def test_closing_a_channel_with_routes(client: Client, versions: InMemoryKernel) -> None:
    await versions.put(service=service(routes=[Route(splits=[to("v1"), to("v2")])]))
    channel = client.channel("echo")
    assert channel.get_state() is CONNECTING
    await call(channel)
    under_way = channel.unary_unary(ONE)(b"wait")
    await channel.close()
    assert await under_way.code() is grpc.StatusCode.CANCELLED
