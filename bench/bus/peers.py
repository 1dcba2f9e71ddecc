"""The bus beside other brokers: the same records from the same process, with what each ack promises."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sira_client.frames import pack_columns

from bench.bus import messages, peer_nats, peer_redis
from bench.bus.publisher import flood, for_seconds
from bench.bus.shapes import SHAPES, Peer, Shape
from bench.figures import Report, median
from bench.load import channels
from bench.processes import launch_kernel, serve

ROUNDS = 3
SECONDS = 0.8
TOPIC = "beside"


class Sira:
    """The kernel, as its peers are seen.

    Args:
        channel: of grpc.aio.
    """

    name = "Sira"
    durability = messages.SYNCED

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def publish(self, shape: Shape, seconds: float) -> float:
        """See Peer. A single record is a frame too."""
        payloads = messages.payloads(shape.records)

        def make() -> bytes:
            return pack_columns(payloads)

        until = for_seconds(seconds)
        return await flood(self._channel, TOPIC, make, records=shape.records, window=shape.in_flight, until=until)


async def run(report: Report, folder: Path) -> None:
    """Each in turn, several times over, in every shape."""
    async with AsyncExitStack() as stack:
        kernel = await stack.enter_async_context(serve(launch_kernel(str(folder / "kernel"))))
        await messages.prepare(kernel, TOPIC)
        (channel,) = await stack.enter_async_context(channels(kernel.address, 1))
        peers: list[Peer] = []
        for sync in peer_nats.DURABILITIES:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
            peers.append(await stack.enter_async_context(peer_nats.serving(data, sync)))
        if peer_redis.installed():
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
            peers.append(await stack.enter_async_context(peer_redis.serving(data)))
        else:
            report.say(f"  Redis Streams: left out, there is no {peer_redis.SERVER} here")
        for shape in SHAPES:
            await _compare(report, shape, Sira(channel), peers)


async def _compare(report: Report, shape: Shape, ours: Peer, peers: Sequence[Peer]) -> None:
    rates: dict[str, list[float]] = {peer.name: [] for peer in (ours, *peers)}
    for _ in range(ROUNDS):
        for peer in (ours, *peers):
            rates[peer.name].append(await peer.publish(shape, SECONDS))
    for peer in peers:
        report.add(
            f"{shape.title}: {ours.name}, beside {peer.name}",
            median(rates[ours.name]),
            "records/s",
            durability=f"{ours.name}: {ours.durability}; {peer.name}: {peer.durability}",
            baseline=median(rates[peer.name]),
        )
