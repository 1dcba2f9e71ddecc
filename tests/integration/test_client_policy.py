"""The Python client's channel and the traffic policies of a real kernel: splits over services and versions, retries."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.registry_service_pb2 import CreateServiceRequest, DeleteServiceRequest, UpdateServiceRequest
from sira.registry.v1.retry_policy_pb2 import RETRY_ON_UNAVAILABLE, RetryPolicy
from sira.registry.v1.route_pb2 import Destination, HeaderMatch, Route, RouteMatch, Split
from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_ORCA_WEIGHTED, TrafficPolicy
from sira_client import (
    BalancedChannel,
    Client,
    FailedPreconditionError,
    Service,
    Settings,
    UnavailableError,
    connect_insecure,
)
from sira_client.balancing.target import Target

from sira_grpc.xds import names
from tests.integration.sira_process import dev
from tests.unit.client.echo import Echo

SERVICE = "namespaces/default/services/echo"
CANARY = "namespaces/default/services/canary"
ONE = "/test.Echo/One"


@pytest.fixture
def address() -> Iterator[str]:
    with dev() as kernel:
        yield kernel.json()["addresses"][0]


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with connect_insecure(address, settings=Settings(default_timeout=20)) as connected:
        yield connected


@pytest.fixture
async def echoes(client: Client) -> AsyncIterator[list[Echo]]:
    """a and b are versions v1 and v2 of the service, c is another service."""
    async with AsyncExitStack() as stack:
        started = [Echo(name) for name in "abc"]
        for echo, service, version in zip(started, ("echo", "echo", "canary"), ("v1", "v2", ""), strict=True):
            await echo.start()
            stack.push_async_callback(echo.stop)
            await stack.enter_async_context(client.register(service, port=echo.port, version=version))
        yield started


async def follow(client: Client, policy: TrafficPolicy) -> None:
    """Has the service follow a policy."""
    request = UpdateServiceRequest(service=Service(name=SERVICE, traffic_policy=policy))
    request.update_mask.paths.append("traffic_policy")
    await client.registry.UpdateService(request)


async def in_effect(channel: BalancedChannel, *targets: Target) -> None:
    """Waits until the channel splits its calls over these."""
    async with asyncio.timeout(20):
        while True:
            active = channel._selector._active
            if active is not None and (active.table.targets if active.table else set()) == set(targets):
                return
            await channel._selector.changed()


def split(weight: int, *, service: str = "", version: str = "") -> Split:
    return Split(weight=weight, destination=Destination(service=service, version=version))


async def test_a_canary_takes_over_under_load_and_no_call_fails(client: Client, echoes: list[Echo]) -> None:
    channel = client.channel("echo")
    callee = channel.unary_unary(ONE)
    stop = asyncio.Event()

    async def load() -> Counter[bytes]:
        answers: Counter[bytes] = Counter()
        while not stop.is_set():
            answers[await callee(b"", timeout=20)] += 1
        return answers

    callers = [asyncio.create_task(load()) for _ in range(4)]
    v1, canary = Target(SERVICE, "v1"), Target(CANARY)
    for share in (0, 1, 25, 50, 75, 99, 100):
        splits = [split(100 - share, version="v1"), split(share, service=CANARY)]
        await follow(client, TrafficPolicy(routes=[Route(splits=splits)]))
        await in_effect(channel, *([v1] if share < 100 else []), *([canary] if share else []))
    assert {await callee(b"", timeout=20) for _ in range(10)} == {b"c"}
    await follow(client, TrafficPolicy())
    await in_effect(channel)
    assert {await callee(b"", timeout=20) for _ in range(10)} == {b"a", b"b"}
    stop.set()
    answers = await asyncio.gather(*callers)
    assert sum(answers, Counter()).keys() <= {b"a", b"b", b"c"}
    async with asyncio.timeout(20):
        while channel._clusters._retiring:
            await asyncio.wait(list(channel._clusters._retiring))
    assert [*channel._clusters._backends] == [SERVICE]


async def test_a_service_that_only_sends_calls_on(client: Client, echoes: list[Echo]) -> None:
    front = "namespaces/default/services/front"
    beta = RouteMatch(path_prefix="/test.", headers=[HeaderMatch(name="tier", exact="beta")])
    routes = [
        Route(matches=[beta], splits=[split(1, service=CANARY)]),
        Route(splits=[split(1, service=SERVICE, version="v2")]),
    ]
    made = Service(name=front, traffic_policy=TrafficPolicy(routes=routes))
    await client.registry.CreateService(CreateServiceRequest(service=made))
    channel = client.channel("front")
    await channel.channel_ready()
    callee = channel.unary_unary(ONE)
    assert {await callee(b"", timeout=20) for _ in range(5)} == {b"b"}
    assert {await callee(b"", timeout=20, metadata=(("tier", "beta"),)) for _ in range(5)} == {b"c"}
    await client.registry.DeleteService(DeleteServiceRequest(name=front))
    await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
    with pytest.raises(UnavailableError, match="was deleted"):
        await callee(b"", timeout=20)


async def test_what_was_deleted_by_force_gets_no_calls(client: Client, echoes: list[Echo]) -> None:
    spare = "namespaces/default/services/spare"
    await client.registry.CreateService(CreateServiceRequest(service=Service(name=spare)))
    await follow(client, TrafficPolicy(routes=[Route(splits=[split(99, service=spare), split(1, version="v2")])]))
    channel = client.channel("echo")
    await channel.channel_ready()
    await in_effect(channel, Target(spare), Target(SERVICE, "v2"))
    with pytest.raises(FailedPreconditionError, match="send calls to"):
        await client.registry.DeleteService(DeleteServiceRequest(name=spare))
    await client.registry.DeleteService(DeleteServiceRequest(name=spare, force=True))
    async with asyncio.timeout(20):
        while not channel._clusters.missing(Target(spare)):
            await channel._selector.changed()
    callee = channel.unary_unary(ONE)
    assert {await callee(b"", timeout=20) for _ in range(10)} == {b"b"}


async def test_retries_and_sessions_of_a_real_policy(client: Client, echoes: list[Echo]) -> None:
    retry = RetryPolicy(max_attempts=4, retry_on=[RETRY_ON_UNAVAILABLE])
    await follow(client, TrafficPolicy(retry=retry, session_affinity=SessionAffinity(cookie="home")))
    channel = client.channel("echo")
    call = channel.unary_unary(ONE)(b"fail:UNAVAILABLE", timeout=20)
    assert (await call.code()).name == "UNAVAILABLE"
    assert sum(echo.calls for echo in echoes) == 4
    first = channel.unary_unary(ONE)(b"", timeout=20)
    home = await first
    cookie = str((await first.initial_metadata())["set-cookie"]).split(";")[0]
    assert {await channel.unary_unary(ONE)(b"", metadata=(("cookie", cookie),)) for _ in range(8)} == {home}


async def test_resolve_weighs_where_load_is_not_known(client: Client, echoes: list[Echo]) -> None:
    await follow(client, TrafficPolicy(lb_policy=LB_POLICY_ORCA_WEIGHTED))
    first = Counter([(await client.resolve("echo"))[0].name for _ in range(40)])
    assert len(first) == 2


ids = st.from_regex(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
labels = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=3)


@given(ids, ids, st.text(max_size=8), labels)
def test_clusters_are_called_what_clients_of_xds_call_them(
    namespace: str, service: str, version: str, metadata: dict[str, str]
) -> None:
    name = f"namespaces/{namespace}/services/{service}"
    destination = Destination(service=name, version=version, metadata=metadata)
    assert Target.of(destination, "").cluster == names.cluster(names.Target.of(destination, ""))
