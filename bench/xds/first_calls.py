"""From registering an endpoint to the first answer that a client has of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from sira.registry.v1 import registry_service_pb2 as registry
from sira.registry.v1.endpoint_pb2 import Endpoint

from bench.figures import Report, median, percentile
from bench.load import CHANNEL_OPTIONS, channels
from bench.processes import Server, launch_kernel, serve
from bench.registry import messages
from bench.xds import bootstraps, sidecars
from bench.xds.echo_servers import METHOD, EchoServers
from sira_grpc.cli.bootstrap.client_kind import BootstrapKind

ROUNDS = 200
WARM_UP = 10
PAUSE = (0.02, 0.05)
"""Between two rounds, seconds: a registration comes out of the blue."""
AGAIN_SECONDS = 0.001
"""Between a call that has failed and the next."""
NOT_THERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED)
"""How a call ends to a service without endpoints, and to none."""


@dataclass(frozen=True, slots=True)
class _Client:
    """Who calls.

    Attributes:
        name: for people.
        open: opens a channel to a service, by its name.
        waits: a call can wait for an endpoint. An Envoy's do not: it has to be asked again.
    """

    name: str
    open: Callable[[str], Any]
    waits: bool


class _Registry:
    """Registers endpoints and takes them away again, all under one lease."""

    def __init__(self, channel: Any) -> None:
        response = registry.RegisterEndpointsResponse.FromString
        self._register = channel.unary_unary(messages.REGISTRY + "RegisterEndpoints", response_deserializer=response)
        self._deregister = channel.unary_unary(messages.REGISTRY + "DeregisterEndpoints")
        self._delete = channel.unary_unary(messages.REGISTRY + "DeleteService")
        self._lease_key = ""

    async def register(self, service: str, port: int) -> None:
        """Registers the endpoint of a service, which is made if it is not there."""
        endpoint = Endpoint(name=_endpoint_name(service), addresses=["127.0.0.1"], port=port)
        answer = await self._register(messages.register([endpoint], lease_key=self._lease_key))
        self._lease_key = self._lease_key or answer.lease_key

    async def deregister(self, service: str) -> None:
        """Leaves the service without an endpoint."""
        request = registry.DeregisterEndpointsRequest(lease_key=self._lease_key, names=[_endpoint_name(service)])
        await self._deregister(request.SerializeToString())

    async def delete(self, service: str) -> None:
        """Leaves nothing of the service."""
        await self._delete(messages.delete_service(service))


def _endpoint_name(service: str) -> str:
    return f"{messages.service(service)}/endpoints/e"


async def _answered(call: Any, *, waits: bool) -> float:
    """Returns when there is an answer, on the performance counter: to a call that waits, or to the last of many."""
    while True:
        try:
            await call(b"", wait_for_ready=waits, timeout=10)
        except aio.AioRpcError as error:
            if waits or error.code() not in NOT_THERE:
                raise
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            return time.perf_counter()


async def _gone(call: Any) -> None:
    """Calls until there is no endpoint."""
    while True:
        try:
            await call(b"", timeout=10)
        except aio.AioRpcError as error:
            if error.code() in NOT_THERE:
                return
            raise


async def _round(registry_: _Registry, service: str, channel: Any, port: int, *, waits: bool = False) -> float:
    """Returns how long the first answer took, in seconds."""
    call = channel.unary_unary(METHOD)
    await _gone(call)
    await asyncio.sleep(random.uniform(*PAUSE))
    answered = asyncio.ensure_future(_answered(call, waits=waits))
    begun = time.perf_counter()
    await registry_.register(service, port)
    return await answered - begun


async def _known(registry_: _Registry, client: _Client, ports: list[int], rounds: int) -> list[float]:
    """Measures a service whose only endpoint goes, and comes back elsewhere; its channel is held all along."""
    times = []
    service = "known"
    await registry_.register(service, ports[-1])
    await registry_.deregister(service)
    async with client.open(service) as channel:
        for number in range(rounds):
            times.append(await _round(registry_, service, channel, ports[number % len(ports)], waits=client.waits))
            await registry_.deregister(service)
    await registry_.delete(service)
    return times


async def _new(registry_: _Registry, client: _Client, ports: list[int], rounds: int) -> list[float]:
    """Measures services that nobody knew of, for each of which a channel is held before it comes to be.

    Calls that wait would do so until their deadlines: in a client of xDS they keep the configuration, or none, with
    which they began.
    """
    times = []
    for number in range(rounds):
        service = f"new-{number}"
        async with client.open(service) as channel:
            times.append(await _round(registry_, service, channel, ports[number % len(ports)]))
        await registry_.delete(service)
    return times


async def _measure(report: Report, registry_: _Registry, client: _Client) -> None:
    async with EchoServers() as servers:
        ports = [await servers.start(f"e{number}") for number in range(2)]
        for what, measure in (("an endpoint", _known), ("a new service", _new)):
            await measure(registry_, client, ports, WARM_UP)
            times = await measure(registry_, client, ports, ROUNDS)
            name = f"registering {what} to the first call answered, {client.name}"
            report.add(f"{name}, p50", median(times) * 1e3, "ms")
            report.add(f"{name}, p99 of {ROUNDS}", percentile(times, 0.99) * 1e3, "ms", at_most=50)


def _over_xds(service: str) -> Any:
    return aio.insecure_channel(f"xds:///{service}.default")


def _through(egress: int) -> Callable[[str], Any]:
    def open_(service: str) -> Any:
        options = (*CHANNEL_OPTIONS, ("grpc.default_authority", f"{service}.default"))
        return aio.insecure_channel(f"127.0.0.1:{egress}", options=options)

    return open_


@contextlib.asynccontextmanager
async def _registry(kernel: Server) -> AsyncIterator[_Registry]:
    async with channels(kernel.address, 1) as (channel,):
        yield _Registry(channel)


async def run(report: Report, folder: Path) -> None:
    """Measures a Python client and an Envoy, each with a kernel of its own."""
    for name in ("python", "envoy"):
        (folder / name).mkdir()
    async with serve(launch_kernel(str(folder / "python"))) as kernel, _registry(kernel) as registry_:
        os.environ.update(bootstraps.write(BootstrapKind.C_CORE, kernel, folder))
        await _measure(report, registry_, _Client("Python", _over_xds, waits=True))
    envoy = sidecars.executable()
    if envoy is None:
        report.say("  Envoy: left out, there is none for this platform")
        return
    async with (
        serve(launch_kernel(str(folder / "envoy"))) as kernel,
        sidecars.running(kernel, envoy, folder, delta=True) as sidecar,
        _registry(kernel) as registry_,
    ):
        await _measure(report, registry_, _Client("Envoy", _through(sidecar.egress), waits=False))
