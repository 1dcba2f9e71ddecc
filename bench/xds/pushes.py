"""One change of an endpoint, and the last of many ADS streams that has acknowledged it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from bench.figures import Report, median
from bench.load import channels
from bench.processes import Server, launch, launch_kernel, serve
from bench.registry import messages
from bench.xds.ads_streams import METHOD, AdsStreams
from bench.xds.go_peer import GoPeer, build
from sira_grpc.xds.type_urls import ENDPOINTS

ROUNDS = 9
CHANNELS = 100
MANY_ENDPOINTS = 10_000
FEW_STREAMS = 100
NODE = Node(id="bench", user_agent_name="gRPC C-core bench")

Push = Callable[[int], Awaitable[object]]


def cluster(service: str) -> str:
    """The name of a service's endpoints."""
    return f"{service}.default"


async def _register(kernel: Server, service: str, count: int) -> None:
    async with channels(kernel.address, 1) as (channel,):
        call = channel.unary_unary(messages.REGISTRY + "RegisterEndpoints")
        endpoints = [messages.endpoint(service, number) for number in range(count)]
        for begin in range(0, count, messages.PER_MESSAGE):
            await call(messages.register(endpoints[begin : begin + messages.PER_MESSAGE]))


async def _answer(kernel: Server, service: str) -> bytes:
    """What the kernel sends to a stream: the floor pushes the same."""
    request = DiscoveryRequest(node=NODE, type_url=ENDPOINTS, resource_names=[cluster(service)])
    async with channels(kernel.address, 1) as (channel,):
        stream = channel.stream_stream(METHOD)()
        await stream.write(request.SerializeToString())
        data: bytes = await stream.read()
        stream.cancel()
    assert DiscoveryResponse.FromString(data).resources
    return data


async def _times(server: Server, count: int, service: str, push: Push, rounds: int) -> tuple[list[float], float]:
    """Returns how long each push took to the last acknowledgement, and the memory of the server a stream, in bytes."""
    before = server.resident_bytes()
    async with channels(server.address, min(CHANNELS, count)) as opened:
        streams = AdsStreams(opened, count, NODE, [(ENDPOINTS, [cluster(service)])])
        streams.expect(1)
        await streams.arrived()
        memory = (server.resident_bytes() - before) / count
        times = []
        for number in range(rounds):
            streams.expect(1)
            begun = time.perf_counter()
            pushed = asyncio.ensure_future(push(number))
            times.append(await streams.arrived() - begun)
            await pushed
        if streams.failed:
            raise RuntimeError(f"{len(streams.failed)} streams failed: {streams.failed[0]}")
        await streams.close()
    return times, memory


class _Contest:
    """The kernel, the floor and the peer, measured in turn on the same service."""

    def __init__(self, kernel: Server, bare: Server, peer: GoPeer | None, service: str) -> None:
        self._kernel = kernel
        self._bare = bare
        self._peer = peer
        self._service = service
        self._port = 8080

    async def ours(self, count: int) -> tuple[list[float], float]:
        """The kernel's."""
        async with channels(self._kernel.address, 1) as (control,):
            update = control.unary_unary(messages.REGISTRY + "UpdateEndpoint")

            async def push(number: int) -> None:
                self._port = 16_161 - self._port
                await update(messages.set_port(self._service, 0, self._port))

            return await _times(self._kernel, count, self._service, push, ROUNDS)

    async def floor(self, count: int) -> tuple[list[float], float]:
        """The floor's."""
        async with channels(self._bare.address, 1) as (control,):
            call = control.unary_unary("/bare.Bare/Push")
            return await _times(self._bare, count, self._service, lambda number: call(b""), ROUNDS)

    async def peer(self, count: int, endpoints: int) -> list[float]:
        """The peer's; empty where there is none."""
        if self._peer is None:
            return []
        await self._peer.load(cluster(self._service), endpoints)
        return (await _times(self._peer.server, count, self._service, self._peer.push, ROUNDS))[0]


async def _measure(report: Report, contest: _Contest, count: int, endpoints: int, **bars: float) -> None:
    ours: list[float] = []
    floor: list[float] = []
    peer: list[float] = []
    memory = []
    for _ in range(2):
        floor += (await contest.floor(count))[0]
        times, held = await contest.ours(count)
        ours += times
        memory.append(held)
        peer += await contest.peer(count, endpoints)
    name = f"change of one of {endpoints} endpoints, acknowledged by the last of {count} streams"
    told = "fdatasync before the change is pushed"
    report.add(name, median(ours) * 1e3, "ms", durability=told, baseline=median(floor) * 1e3, **bars)
    report.add(f"{name}, slowest of {len(ours)}", max(ours) * 1e3, "ms", durability=told, baseline=max(floor) * 1e3)
    if peer:
        report.add(f"{name}, beside go-control-plane", median(ours) * 1e3, "ms", baseline=median(peer) * 1e3)
    if count > FEW_STREAMS:
        report.add(f"memory a stream at {count} streams of {endpoints} endpoints", memory[0] / 1024, "KiB", at_most=100)


async def run(report: Report, folder: Path) -> None:
    """Measures 1,000 and 5,000 streams of 100 endpoints, and 100 streams of 10,000 endpoints."""
    program = await build(folder, report)
    for count, endpoints in ((1_000, 100), (5_000, 100), (FEW_STREAMS, MANY_ENDPOINTS)):
        data = folder / f"{count}x{endpoints}"
        data.mkdir()
        async with (
            serve(launch_kernel(str(data))) as kernel,
            serve(launch([sys.executable, "-m", "bench.xds.bare_ads"])) as bare,
            GoPeer.running(program) as peer,
        ):
            service = f"s{endpoints}"
            await _register(kernel, service, endpoints)
            async with channels(bare.address, 1) as (control,):
                await control.unary_unary("/bare.Bare/Load")(await _answer(kernel, service))
            bars = {"ratio_at_most": 1.6} if endpoints == 100 else {"at_most": 80.0}
            await _measure(report, _Contest(kernel, bare, peer, service), count, endpoints, **bars)
