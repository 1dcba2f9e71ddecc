"""One change, and the last of many Watch streams that sees it; and the burst in which they all connect."""

from __future__ import annotations

import asyncio
import time

from bench.figures import Report, median
from bench.load import Streams, channels
from bench.processes import Server
from bench.registry import messages

ROUNDS = 7
CHANNELS = 100
NAME = "fanout"


async def prepare(kernel: Server, bare: Server) -> None:
    """Registers the service that is watched, and gives the floor the same bytes to push."""
    async with channels(kernel.address, 1) as (channel,):
        call = channel.unary_unary(messages.REGISTRY + "RegisterEndpoints")
        await call(messages.register([messages.endpoint(NAME, i) for i in range(3)]))
        stream = channel.unary_stream(messages.RESOLVER + "Watch")(messages.watch(NAME))
        await stream.read()
        await channel.unary_unary(messages.REGISTRY + "UpdateEndpoint")(messages.set_weight(NAME, 0, 99))
        change = await stream.read()
        stream.cancel()
    async with channels(bare.address, 1) as (channel,):
        await channel.unary_unary("/bare.Bare/Load")(change)


class _Side:
    """A server with its streams open."""

    def __init__(self, server: Server, follow: str, request: bytes, push: str) -> None:
        self.server = server
        self._follow = follow
        self._request = request
        self._push = push
        self._weight = 100

    async def __call__(self, count: int, rounds: int) -> tuple[float, list[float], float, int]:
        """Returns the time to connect, the times of the changes, the memory a stream, and how many streams failed."""
        before = self.server.resident_bytes()
        async with channels(self.server.address, CHANNELS) as opened, channels(self.server.address, 1) as (control,):
            begun = time.perf_counter()
            streams = Streams(opened, self._follow, self._request, count)
            streams.expect(1)
            connected = await streams.arrived() - begun
            memory = (self.server.resident_bytes() - before) / count
            push = control.unary_unary(self._push)
            times = []
            for _ in range(rounds):
                self._weight += 1
                streams.expect(1)
                begun = time.perf_counter()
                answer = push(messages.set_weight(NAME, 0, self._weight))
                times.append(await streams.arrived() - begun)
                await answer
            failed = len(streams.failed)
            await streams.close()
        return connected, times, memory, failed


async def run(report: Report, kernel: Server, bare: Server) -> None:
    """Measures 1,000, 5,000 and 10,000 streams, kernel and floor in turn."""
    await prepare(kernel, bare)
    ours = _Side(kernel, messages.RESOLVER + "Watch", messages.watch(NAME), messages.REGISTRY + "UpdateEndpoint")
    floor = _Side(bare, "/bare.Bare/Follow", b"", "/bare.Bare/Push")
    for count in (1_000, 5_000, 10_000):
        kernel_runs, bare_runs = [], []
        for _ in range(2):
            bare_runs.append(await floor(count, ROUNDS))
            kernel_runs.append(await ours(count, ROUNDS))
            await asyncio.sleep(1)
        report.add(
            f"change seen by the last of {count} watchers",
            median([t for run in kernel_runs for t in run[1]]) * 1e3,
            "ms",
            durability="fdatasync before the change is seen",
            baseline=median([t for run in bare_runs for t in run[1]]) * 1e3,
            ratio_at_most=1.6,
        )
        report.add(
            f"memory a stream at {count} watchers",
            kernel_runs[0][2] / 1024,
            "KiB",
            baseline=bare_runs[0][2] / 1024,
            at_most=40,
        )
        if count == 10_000:
            report.add(
                f"{count} watchers connect at once, all served",
                median([run[0] for run in kernel_runs]),
                "s",
                baseline=median([run[0] for run in bare_runs]),
                ratio_at_most=2,
            )
            report.add(f"of {count}, refused", max(run[3] for run in kernel_runs), "streams", at_most=0)
