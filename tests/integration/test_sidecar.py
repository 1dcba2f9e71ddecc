"""`sira sidecar` with a real Envoy, a real service and a real kernel, in plaintext on this machine."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.registry_service_pb2 import CreateServiceRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.service_pb2 import Service

from sira_grpc.cli.exits import ExitCode
from tests.integration.envoy import needs_envoy
from tests.integration.envoy_mesh import app, calling, endpoints, free_ports, sidecar
from tests.integration.sira_process import SiraProcess, dev

pytestmark = needs_envoy
CHECKOUT = "namespaces/default/services/checkout"


@pytest.fixture(scope="module")
def kernel() -> Iterator[str]:
    with dev() as process:
        yield process.json()["addresses"][0]


@pytest.fixture
async def channel(kernel: str) -> AsyncIterator[Any]:
    async with aio.insecure_channel(kernel) as made:
        yield made


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A service of the test's own."""
    return f"s{abs(hash(request.node.name)):x}"[:20]


def full(name: str) -> str:
    return f"namespaces/default/services/{name}"


async def create(channel: Any, name: str) -> None:
    registry: Any = RegistryServiceStub(channel)
    await registry.CreateService(CreateServiceRequest(service=Service(name=full(name))))


def states(known: Sequence[Endpoint]) -> list[str]:
    return sorted(HealthState.Name(each.status.state).removeprefix("HEALTH_STATE_") for each in known)


async def ready(process: SiraProcess) -> dict[str, Any]:
    return await asyncio.to_thread(process.json)


@asynccontextmanager
async def serving(kernel: str, name: str, *arguments: str) -> AsyncIterator[tuple[SiraProcess, dict[str, Any]]]:
    """A sidecar of a service, that runs the service too and takes calls by names."""
    inbound, target, egress = free_ports(3)
    options = ["--inbound", f"{inbound}:{target}", "--egress", str(egress), *arguments]
    with sidecar(kernel, name, *options, "--", *app(target, name)) as process:
        yield process, {**await ready(process), "egress_port": egress, "port": inbound}


async def test_calls_go_by_name_through_both_sidecars(kernel: str, channel: Any, name: str) -> None:
    await create(channel, name)
    async with serving(kernel, name, "--version", "v7") as (process, told), endpoints(channel, full(name)) as until:
        await until(lambda known: states(known) == ["SERVING"])
        await until(lambda known: known[0].port == told["port"] and known[0].version == "v7")
        assert told["endpoint"].startswith(f"{full(name)}/endpoints/")
        assert told["node"] == f"{name}.default/{told['endpoint'].rpartition('/')[2]}"
        for authority in (name, f"{name}.default", f"{name}.default:80"):
            async with calling(told["egress_port"], authority) as calls:
                await calls.until(lambda answer: answer == name)
                assert await calls() == name
        assert await asyncio.to_thread(process.terminate) == 0


@pytest.mark.parametrize("mode", ["--sotw", "--delta"])
async def test_an_envoy_for_calls_alone_needs_no_registration(kernel: str, channel: Any, name: str, mode: str) -> None:
    (egress,) = free_ports(1)
    with sidecar(kernel, "caller", "--egress", str(egress), mode) as caller:
        told = await ready(caller)
        assert "endpoint" not in told
        async with calling(egress, name) as calls:
            code, details = await calls.refusal()
            assert code in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE)
            assert name in details
            async with serving(kernel, name):
                await calls.until(lambda answer: answer == name)
        assert await asyncio.to_thread(caller.terminate) == 0


async def test_the_health_is_that_of_the_service(kernel: str, channel: Any, name: str) -> None:
    await create(channel, name)
    inbound, target = free_ports(2)
    with sidecar(kernel, name, "--inbound", f"{inbound}:{target}", "--check", "grpc") as process:
        await ready(process)
        async with endpoints(channel, full(name)) as until:
            await until(lambda known: states(known) == ["NOT_SERVING"])
            service = await asyncio.create_subprocess_exec(*app(target, name))
            try:
                await until(lambda known: states(known) == ["SERVING"])
                service.send_signal(signal.SIGUSR1)
                await until(lambda known: states(known) == ["NOT_SERVING"])
            finally:
                service.kill()
                await service.wait()
        assert await asyncio.to_thread(process.terminate) == 0


async def test_a_drain_fails_no_call_and_waits_for_those_in_flight(kernel: str, channel: Any, name: str) -> None:
    await create(channel, name)
    async with (
        serving(kernel, name, "--drain", "20s") as (process, told),
        endpoints(channel, full(name)) as until,
        calling(told["egress_port"], name) as calls,
        calling(told["port"], name) as direct,
    ):
        await calls.until(lambda answer: answer == name)
        held = direct.start("Hold")
        assert await asyncio.to_thread(process.line) == "holding"
        ending = asyncio.create_task(asyncio.to_thread(process.terminate))
        await until(lambda known: states(known) == ["DRAINING"])
        assert await direct() == name, "who has not heard of it is still served"
        assert not ending.done()
        await direct("LetGo")
        assert await held == name
        assert await ending == 0
        await until(lambda known: not known)


async def test_a_drain_is_over_when_its_time_is(kernel: str, channel: Any, name: str) -> None:
    async with serving(kernel, name, "--drain", "1s") as (process, told), calling(told["port"], name) as direct:
        await direct.until(lambda answer: answer == name)
        held = direct.start("Hold")
        assert await asyncio.to_thread(process.line) == "holding"
        assert await asyncio.to_thread(process.terminate) == 0
        with pytest.raises(aio.AioRpcError):
            await held


async def test_the_end_of_the_program_is_that_of_the_sidecar(kernel: str, channel: Any, name: str) -> None:
    await create(channel, name)
    inbound, target = free_ports(2)
    command = ["sh", "-c", 'test "$SIRA_EGRESS" = "" && exit 7']
    with sidecar(kernel, name, "--inbound", f"{inbound}:{target}", "--", *command) as process:
        await ready(process)
        assert await asyncio.to_thread(process.wait) == 7
    async with endpoints(channel, full(name)) as until:
        await until(lambda known: not known)


async def test_the_program_is_told_where_to_call(kernel: str, name: str) -> None:
    (egress,) = free_ports(1)
    with sidecar(kernel, name, "--egress", str(egress), "--", "sh", "-c", "echo $SIRA_EGRESS; kill -9 $$") as process:
        await ready(process)
        assert await asyncio.to_thread(process.line) == f"127.0.0.1:{egress}"
        assert await asyncio.to_thread(process.wait) == 128 + signal.SIGKILL


async def test_when_envoy_dies_the_endpoint_goes_and_the_sidecar_fails(kernel: str, channel: Any, name: str) -> None:
    await create(channel, name)
    async with serving(kernel, name) as (process, told), endpoints(channel, full(name)) as until:
        await until(lambda known: states(known) == ["SERVING"])
        os.kill(told["envoyPid"], signal.SIGKILL)
        assert await asyncio.to_thread(process.wait) == ExitCode.ERROR
        assert any("Envoy has ended by itself (SIGKILL)" in line for line in process.rest())
        await until(lambda known: not known)


async def test_envoy_dies_with_the_sidecar(kernel: str, name: str) -> None:
    async with serving(kernel, name) as (process, told):
        handle = os.pidfd_open(told["envoyPid"])
        try:
            process.kill()
            await asyncio.to_thread(_ended, handle)
        finally:
            os.close(handle)


async def test_a_second_signal_cuts_the_drain_short(kernel: str, channel: Any, name: str) -> None:
    await create(channel, name)
    async with (
        serving(kernel, name, "--drain", "25s") as (process, told),
        endpoints(channel, full(name)) as until,
        calling(told["port"], name) as direct,
    ):
        await direct.until(lambda answer: answer == name)
        held = direct.start("Hold")
        assert await asyncio.to_thread(process.line) == "holding"
        ending = asyncio.create_task(asyncio.to_thread(process.interrupt))
        await until(lambda known: states(known) == ["DRAINING"])
        assert await asyncio.to_thread(process.terminate) == ExitCode.INTERRUPTED
        await ending
        held.cancel()
        await until(lambda known: not known)


async def test_a_port_that_is_taken_is_named(kernel: str, channel: Any, name: str) -> None:
    await create(channel, name)
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with sidecar(kernel, name, "--inbound", f"{port}:1", "--wait", "3s") as process:
            assert await asyncio.to_thread(process.wait) == ExitCode.ERROR
            assert any(f"inbound:{port}" in line and "in use" in line for line in process.rest()[-1:])
    async with endpoints(channel, full(name)) as until:
        await until(lambda known: not known)


async def test_a_kernel_that_is_not_there_is_said_so(name: str) -> None:
    kernel, egress = free_ports(2)
    with sidecar(f"127.0.0.1:{kernel}", name, "--egress", str(egress), "--wait", "1s") as process:
        assert await asyncio.to_thread(process.wait) == ExitCode.ERROR
        assert "no kernel answers it" in process.rest()[-1]


async def test_a_signal_ends_it_before_it_is_ready(name: str) -> None:
    kernel, egress = free_ports(2)
    with sidecar(f"127.0.0.1:{kernel}", name, "--egress", str(egress), "--envoy-log", "info") as process:
        await asyncio.to_thread(process.chatter, "initializing epoch")
        assert await asyncio.to_thread(process.terminate) == ExitCode.INTERRUPTED


async def test_calls_go_on_while_the_kernel_is_away(tmp_path: Path, name: str) -> None:
    (port,) = free_ports(1)
    kernel = ["dev", "-o", "json", "--listen", f"127.0.0.1:{port}", "--data-dir", str(tmp_path)]
    with SiraProcess(*kernel) as first:
        address = (await ready(first))["addresses"][0]
        async with serving(address, name) as (process, told), calling(told["egress_port"], name) as calls:
            await calls.until(lambda answer: answer == name)
            first.kill()
            await asyncio.to_thread(process.chatter, "connection lost")
            assert [await calls() for _ in range(20)] == [name] * 20
            with SiraProcess(*kernel) as second:
                await ready(second)
                await asyncio.to_thread(process.chatter, "connected again")
                assert [await calls() for _ in range(100)] == [name] * 100
                assert await asyncio.to_thread(process.terminate) == 0


def _ended(handle: int) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    assert poll.poll(30_000)
