"""The Python client's balanced channel and a real kernel, through restarts, kills and drains."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from sira.registry.v1.registry_service_pb2 import (
    DRAIN_OUTCOME_DRAINED,
    CreateServiceRequest,
    DrainRequest,
    UpdateServiceRequest,
)
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_RING_HASH, LocalityFailover, TrafficPolicy
from sira_client import (
    BalancedChannel,
    Client,
    Locality,
    RegistrationState,
    RetryPolicy,
    Service,
    Settings,
    UnavailableError,
    connect_insecure,
)

from tests.integration.authority import Authority
from tests.integration.sira_process import SiraProcess, dev
from tests.unit.client.echo import Echo

HELD, RECONNECTING = RegistrationState.HELD, RegistrationState.RECONNECTING
SERVICE = "namespaces/default/services/echo"
ONE = "/test.Echo/One"
SETTINGS = Settings(default_timeout=20)


@asynccontextmanager
async def echo_process(kernel: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that serves and is registered, killed at the end at the latest."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.client_echo_process", kernel, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert SERVICE.encode() in await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def settled(channel: BalancedChannel, count: int) -> None:
    """Waits until the channel is connected to so many endpoints."""
    async with asyncio.timeout(20):
        while len(channel._balancer._connected()) != count:
            await channel._balancer.changed()


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
                await settled(channel, 1)
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
        await settled(channel, 2)
        calls = [channel.unary_unary(ONE)(b"wait", timeout=20) for _ in range(20)]
        for echo in echoes:
            for _ in range(10):
                await echo.under_way.acquire()
        echoes[1].release.set()
        await echoes[0].stop()
        assert {await call for call in calls} == {b"b"}


async def test_a_process_killed_under_load_fails_no_call_and_leaves_resolution(client: Client, address: str) -> None:
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(echo_process(address)) for _ in range(3)]
        channel = client.channel("echo", retry=RetryPolicy(idempotent=True))
        await settled(channel, 3)
        callee = channel.unary_unary(ONE)
        stop = asyncio.Event()

        async def load() -> Counter[bytes]:
            answers: Counter[bytes] = Counter()
            while not stop.is_set():
                answers[await callee(b"", timeout=20)] += 1
            return answers

        callers = [asyncio.create_task(load()) for _ in range(8)]
        killed, *left = processes
        killed.kill()
        await settled(channel, 2)
        async with asyncio.timeout(20):
            async for view in client.watch("echo"):
                if sum(not endpoint.status.suspect for endpoint in view.endpoints.values()) == 2:
                    break
        assert len(await client.resolve("echo")) == 2
        stop.set()
        await asyncio.gather(*callers)
        assert {await callee(b"", timeout=20) for _ in range(8)} == {b"%d" % process.pid for process in left}


async def test_endpoints_with_tls(client: Client, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    server = authority.server()
    pair = (server.key.read_bytes(), server.certificate.read_bytes())
    echo = Echo("safe", grpc.ssl_server_credentials([pair]))
    await echo.start()
    async with (
        client.register("echo", port=echo.port),
        client.channel("echo", credentials=authority.trust()) as trusting,
        client.channel("echo") as plaintext,
    ):
        assert await trusting.unary_unary(ONE)(b"", timeout=20) == b"safe"
        with pytest.raises(UnavailableError, match="can be reached"):
            await plaintext.unary_unary(ONE)(b"", timeout=20)
    await echo.stop()


async def test_a_drained_endpoint_gets_no_call(client: Client, echoes: list[Echo]) -> None:
    async with (
        client.register("echo", port=echoes[0].port) as one,
        client.register("echo", port=echoes[1].port),
        client.channel("echo") as channel,
    ):
        await settled(channel, 2)
        response = await client.registry.Drain(DrainRequest(names=[one.name]))
        assert response.outcome == DRAIN_OUTCOME_DRAINED
        await settled(channel, 1)
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
        await settled(channel, 2)
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
        await settled(channel, 2)
        service = Service(name=SERVICE, traffic_policy=TrafficPolicy(subset_size=1))
        await client.registry.UpdateService(UpdateServiceRequest(service=service))
        await settled(channel, 1)
        assert len({await channel.unary_unary(ONE)(b"", timeout=20) for _ in range(6)}) == 1
