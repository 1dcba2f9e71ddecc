"""A consumer that asks for records and neither reads nor acknowledges any, while a million come: what others feel."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Self

from sira.bus.v1.subscription_service_pb2 import Credit
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira_client.frames import pack_columns

from bench.bus import messages
from bench.bus.consumer import MAX_CREDIT_BYTES, MAX_CREDIT_RECORDS, open_stream
from bench.bus.messages import SYNCED
from bench.bus.pacing import Paced
from bench.bus.publisher import flood, for_frames
from bench.figures import Report, median, percentile
from bench.load import channels
from bench.processes import Server, launch_kernel, serve

BACKLOG = 1_000_000
RECORDS = 1_000
WINDOW = 16
ROUNDS = 4
SECONDS = 2.0
WARM_SECONDS = 2.0
SAMPLE_SECONDS = 0.05
MAX_OUTSTANDING = 200_000
"""As much as a subscription may allow: ten times the default."""
TOPIC, STALLED, LIVE = "backlog", "stalled", "live"


async def run(report: Report, folder: Path) -> None:
    """Both subscriptions read the same topic; the live one is measured before and after the million."""
    async with serve(launch_kernel(str(folder / "kernel"))) as kernel:
        await messages.prepare(kernel, TOPIC, STALLED, LIVE, max_outstanding=MAX_OUTSTANDING)
        async with (
            channels(kernel.address, 4) as (publishing, consuming, flooding, stalling),
            Paced(publishing, consuming, LIVE, topic=TOPIC) as live,
        ):
            await live.run(WARM_SECONDS)
            before = await _p99(live)
            async with Peak(kernel) as peak:
                stalled: Any = SubscriptionServiceStub(stalling).Subscribe()
                everything = Credit(records=MAX_CREDIT_RECORDS, bytes=MAX_CREDIT_BYTES)
                await open_stream(stalled, messages.subscription(STALLED), everything)
                await _fill(flooding, live)
                after = await _p99(live)
            stalled.cancel()
    title = f"a consumer stalls, a backlog of {BACKLOG} records: "
    report.add(title + "the server grows, at its peak", peak.growth / 2**20, "MiB", durability=SYNCED, at_most=64)
    report.add(
        title + "delivery p99 of another subscription of the topic, beside before",
        after * 1e3,
        "ms",
        durability="fdatasync before the delivery",
        baseline=before * 1e3,
        ratio_at_most=2,
    )


async def _p99(live: Paced) -> float:
    """The median over some rounds, so that what else the machine does now and then counts little."""
    rounds = [(await live.run(SECONDS))[1] for _ in range(ROUNDS)]
    return median([percentile(deliveries, 0.99) for deliveries in rounds])


async def _fill(channel: Any, live: Paced) -> None:
    """Publishes the backlog, and waits until the live subscription has dealt with it."""
    frame = pack_columns([messages.numbered(messages.UNPACED, payload) for payload in messages.payloads(RECORDS)])
    settled = live.consumer.settled
    await flood(channel, TOPIC, lambda: frame, records=RECORDS, window=WINDOW, until=for_frames(BACKLOG // RECORDS))
    await live.consumer.until_settled(settled + BACKLOG)


class Peak:
    """The most memory that a server holds within the block.

    Attributes:
        growth: bytes beyond what it held at the beginning.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.growth = 0

    async def __aenter__(self) -> Self:
        self._before = self._server.resident_bytes()
        self._sampling = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._sampling.cancel()
        await asyncio.gather(self._sampling, return_exceptions=True)

    async def _sample(self) -> None:
        while True:
            self.growth = max(self.growth, self._server.resident_bytes() - self._before)
            await asyncio.sleep(SAMPLE_SECONDS)
