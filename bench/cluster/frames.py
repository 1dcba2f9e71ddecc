"""What the bus of a cluster takes in a second, beside the store's own client that publishes the same frames."""

from __future__ import annotations

from pathlib import Path

from sira_client.frames import pack_columns

from bench.bus import messages
from bench.bus.publisher import flood, for_seconds
from bench.cluster.bare_store import BareStore, bare_store
from bench.cluster.stage import DURABILITY, staged
from bench.figures import Report, median
from bench.load import channels
from bench.processes import Server

ROUNDS = 5
SECONDS = 3.0
WARM_SECONDS = 1.0
RECORDS = 1_000
WINDOW = 16
TOPIC = "frames"
RATIO = 0.6


async def run(report: Report, folder: Path) -> None:
    """The member that serves the topic, the bare store, and another member that passes the frames on, in turn."""
    payloads = messages.payloads(RECORDS)

    def make() -> bytes:
        return pack_columns(payloads)

    async def ours(member: Server, seconds: float = SECONDS) -> float:
        async with channels(member.address, 1) as (channel,):
            return await flood(channel, TOPIC, make, records=RECORDS, window=WINDOW, until=for_seconds(seconds))

    async def theirs(store: BareStore, seconds: float = SECONDS) -> float:
        return RECORDS * await store.flood(make, window=WINDOW, seconds=seconds)

    async with staged(folder, members=2) as stage, bare_store(stage.nodes.url) as store:
        await messages.prepare(stage.members[0], TOPIC)
        owner = await stage.owner()
        (other,) = [member for member in stage.members if member is not owner]
        await ours(owner, WARM_SECONDS)
        await theirs(store, WARM_SECONDS)
        rounds = [(await ours(owner), await theirs(store), await ours(other)) for _ in range(ROUNDS)]
    direct, bare, forwarded = (median(rates) for rates in zip(*rounds, strict=True))
    title = "published, 1,000 records a frame"
    report.add(title, direct, "records/s", durability=f"{DURABILITY}, both", baseline=bare, ratio_at_least=RATIO)
    report.add(
        f"{title}, through another member", forwarded, "records/s", durability=f"{DURABILITY}, both", baseline=direct
    )
