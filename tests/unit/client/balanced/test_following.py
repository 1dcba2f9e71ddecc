from __future__ import annotations

import asyncio

import grpc
import pytest
from sira.registry.v1.traffic_policy_pb2 import (
    LB_POLICY_WEIGHTED,
)
from sira_client import (
    Client,
    HealthState,
    Settings,
    UnavailableError,
    connect_insecure,
)

from tests.unit.client.balanced.echo_service import (
    BROKEN,
    ONE,
    READY,
    SHUTDOWN,
    call,
    connected,
    endpoint,
    service,
    spread,
)
from tests.unit.client.echo import Echo
from tests.unit.client.failure import Failure
from tests.unit.client.in_memory_kernel import InMemoryKernel


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


async def test_a_kernel_that_is_not_there_is_not_waited_for_for_ever(kernel: InMemoryKernel) -> None:
    await kernel.stop()
    async with connect_insecure(kernel.address, settings=Settings(default_timeout=0.05)) as client:
        with pytest.raises(UnavailableError, match="the kernel has not told of it yet"):
            await client.channel("echo").unary_unary(ONE)(b"")


async def test_no_healthy_endpoint_fails_at_once(client: Client, served: InMemoryKernel, echoes: list[Echo]) -> None:
    for echo in echoes:
        sick = endpoint(echo)
        sick.status.state = HealthState.HEALTH_STATE_NOT_SERVING
        await served.put(sick)
    channel = client.channel("echo")
    with pytest.raises(UnavailableError, match="none of its 3 endpoints is healthy"):
        await call(channel)
