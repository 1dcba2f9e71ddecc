"""The Python client's balanced channel and a real kernel, through restarts, kills and drains."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sira.registry.v1.registry_service_pb2 import (
    DRAIN_OUTCOME_DRAINED,
    CreateServiceRequest,
    DrainRequest,
    UpdateServiceRequest,
)
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_RING_HASH, LocalityFailover, TrafficPolicy
from sira_client import (
    Client,
    Locality,
    RegistrationState,
    RetryPolicy,
    Service,
    Settings,
    UnavailableError,
    connect_insecure,
)

from tests.integration.sira_process import SiraProcess, dev
from tests.unit.client.echo import Echo

HELD, RECONNECTING = RegistrationState.HELD, RegistrationState.RECONNECTING


SERVICE = "namespaces/default/services/echo"


ONE = "/test.Echo/One"


SETTINGS = Settings(default_timeout=20)


@pytest.fixture
def address() -> Iterator[str]:
    with dev() as kernel:
        yield kernel.json()["addresses"][0]


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with connect_insecure(address, settings=SETTINGS) as connected:
        yield connected


@pytest.fixture
async def echoes() -> AsyncIterator[list[Echo]]:
    started = [Echo(name) for name in ("a", "b")]
    for echo in started:
        await echo.start()
    yield started
    for echo in started:
        await echo.stop()


@pytest.mark.parametrize("kill", [False, True])
async def test_a_kernel_restart_costs_no_registration_and_no_call(
    tmp_path: Path, echoes: list[Echo], kill: bool
) -> None:
    where = str(tmp_path)
    with dev("--data-dir", where) as kernel:
        address = kernel.json()["addresses"][0]
        async with (
            connect_insecure(address, settings=SETTINGS) as client,
            client.register("echo", port=echoes[0].port) as one,
            client.register("echo", port=echoes[1].port) as other,
        ):
            channel = client.channel("echo")
            callee = channel.unary_unary(ONE)
            assert await callee(b"", timeout=20) in {b"a", b"b"}
            await asyncio.to_thread(kernel.kill if kill else kernel.interrupt)
            for registration in (one, other):
                await registration.wait_for(RECONNECTING)
            assert Counter([await callee(b"", timeout=20) for _ in range(20)]).keys() == {b"a", b"b"}
            with pytest.raises(UnavailableError):
                await client.resolve("echo")
            with SiraProcess("dev", "--listen", address, "--data-dir", where) as again:
                await asyncio.to_thread(again.line)
                for registration in (one, other):
                    await registration.wait_for(HELD)
                assert {e.name for e in await client.resolve("echo")} == {one.name, other.name}
                await one.close()
                async with asyncio.timeout(20):
                    while len(channel._balancer._connected()) != 1:
                        await channel._balancer.changed()
                assert {await callee(b"", timeout=20) for _ in range(6)} == {b"b"}


async def test_a_kernel_that_lost_everything_is_told_again(echoes: list[Echo]) -> None:
    with dev() as kernel:
        address = kernel.json()["addresses"][0]
        async with (
            connect_insecure(address, settings=SETTINGS) as client,
            client.register("echo", port=echoes[0].port) as registration,
            client.channel("echo") as channel,
        ):
            watch = client.watch("echo")
            await anext(watch)
            assert await channel.unary_unary(ONE)(b"", timeout=20) == b"a"
            await asyncio.to_thread(kernel.interrupt)
            await registration.wait_for(RECONNECTING)
            with SiraProcess("dev", "--listen", address) as empty:
                await asyncio.to_thread(empty.line)
                await registration.wait_for(HELD)
                assert [e.name for e in await client.resolve("echo")] == [registration.name]
                assert await channel.unary_unary(ONE)(b"", timeout=20) == b"a"
            await watch.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_a_killed_endpoint_fails_no_call(client: Client, echoes: list[Echo]) -> None:
    async with (
        client.register("echo", port=echoes[0].port),
        client.register("echo", port=echoes[1].port),
        client.channel("echo", retry=RetryPolicy(idempotent=True)) as channel,
    ):
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 2:
                await channel._balancer.changed()
        calls = [channel.unary_unary(ONE)(b"wait", timeout=20) for _ in range(20)]
        for echo in echoes:
            for _ in range(10):
                await echo.under_way.acquire()
        echoes[1].release.set()
        await echoes[0].stop()
        assert {await call for call in calls} == {b"b"}


async def test_a_drained_endpoint_gets_no_call(client: Client, echoes: list[Echo]) -> None:
    async with (
        client.register("echo", port=echoes[0].port) as one,
        client.register("echo", port=echoes[1].port),
        client.channel("echo") as channel,
    ):
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 2:
                await channel._balancer.changed()
        response = await client.registry.Drain(DrainRequest(names=[one.name]))
        assert response.outcome == DRAIN_OUTCOME_DRAINED
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 1:
                await channel._balancer.changed()
        assert {await channel.unary_unary(ONE)(b"", timeout=20) for _ in range(10)} == {b"b"}


async def test_resolve_and_channel_agree(client: Client, echoes: list[Echo]) -> None:
    policy = TrafficPolicy(lb_policy=LB_POLICY_RING_HASH, locality_failover=LocalityFailover())
    await client.registry.CreateService(CreateServiceRequest(service=Service(name=SERVICE, traffic_policy=policy)))
    here = Locality(region="eu", zone="a")
    async with (
        client.register("echo", port=echoes[0].port, endpoint_id="a", locality=here),
        client.register("echo", port=echoes[1].port, endpoint_id="b", locality=here),
        client.register("echo", port=1, endpoint_id="far", locality=Locality(region="us")),
        client.channel("echo", locality=here) as channel,
    ):
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 2:
                await channel._balancer.changed()
        for key in "stuvwxyz":
            first = (await client.resolve("echo", locality=here, hash_key=key))[0]
            answer = await channel.unary_unary(ONE)(b"", timeout=20, metadata=(("sira-hash-key", key),))
            assert first.name.endswith("/" + answer.decode())


async def test_a_policy_reaches_the_channel(client: Client, echoes: list[Echo]) -> None:
    async with (
        client.register("echo", port=echoes[0].port),
        client.register("echo", port=echoes[1].port),
        client.channel("echo", client_id="me") as channel,
    ):
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 2:
                await channel._balancer.changed()
            service = Service(name=SERVICE, traffic_policy=TrafficPolicy(subset_size=1))
            await client.registry.UpdateService(UpdateServiceRequest(service=service))
            while len(channel._balancer._connected()) != 1:
                await channel._balancer.changed()
        assert len({await channel.unary_unary(ONE)(b"", timeout=20) for _ in range(6)}) == 1
