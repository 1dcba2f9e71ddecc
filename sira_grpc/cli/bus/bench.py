"""`sira bus bench`: how fast records get through a kernel."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import names
from sira_grpc.cli.bus import running
from sira_grpc.cli.bus.benchmark import Benchmark, Load, Result, percentile
from sira_grpc.cli.bus.compression import Option, method
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.output import Column, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira_client.bus import Bus


def _latency(seconds: Sequence[float]) -> str:
    return f"p50 {percentile(seconds, 0.5) * 1000:.2f} ms, p99 {percentile(seconds, 0.99) * 1000:.2f} ms"


COLUMNS: Sequence[Column[Result]] = (
    ("PUBLISHED", lambda result: f"{result.publish_rate:,.0f} records/s, {_latency(result.acks)} to the ack"),
    (
        "DELIVERED",
        lambda result: f"{result.rate:,.0f} records/s, {_latency(result.deliveries)} from publish to delivery",
    ),
    ("DURABILITY", lambda result: f"{result.durability}, of each publish and each ack"),
)


@connected
def bench(
    session: Session,
    namespace: Namespace = None,
    records: Annotated[int, typer.Option(min=1, help="How many records.")] = 200_000,
    size: Annotated[int, typer.Option(min=8, max=1 << 20, help="Bytes of each payload.")] = 128,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Records in a frame.")] = 1000,
    producers: Annotated[int, typer.Option(min=1, max=64, help="Producers, each with a stream of its own.")] = 1,
    consumers: Annotated[int, typer.Option(min=1, max=64, help="Consumers of one subscription.")] = 1,
    partitions: Annotated[int | None, typer.Option(min=1, max=256, help="Default: one for each of them.")] = None,
    topic: Annotated[str | None, typer.Option(help="Name of the topic; must not be there. Default: made up.")] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Keep records in memory only.")] = False,
    compression: Option = None,
) -> None:
    """Publish, deliver and acknowledge records as fast as it goes, and show how fast that was.

    Makes a topic and a subscription for it, and deletes them at the end. All clients are in this one process.
    """
    made_up = f"bench-{secrets.token_hex(4)}"
    load = Load(
        topic=names.own(topic or made_up),
        subscription=made_up,
        records=records,
        size=size,
        batch=batch,
        producers=producers,
        consumers=consumers,
        partitions=partitions or max(producers, consumers),
        durability="memory" if memory else "disk",
        compression=method(compression),
    )
    results: list[Result] = []

    async def work(bus: Bus) -> None:
        results.append(await Benchmark(bus, load).run())

    if not running.run(session, namespace, work):
        say("stopped")
        raise typer.Exit(ExitCode.INTERRUPTED)
    session.printer.facts(results[0], COLUMNS, _plain(load, results[0]))


def _plain(load: Load, result: Result) -> dict[str, Any]:
    return {
        "records": load.records,
        "size": load.size,
        "batch": load.batch,
        "producers": load.producers,
        "consumers": load.consumers,
        "partitions": load.partitions,
        "durability": f"DURABILITY_{result.durability.upper()}",
        "publish": {"recordsPerSecond": round(result.publish_rate), "ackMilliseconds": _percentiles(result.acks)},
        "endToEnd": {"recordsPerSecond": round(result.rate), "deliveryMilliseconds": _percentiles(result.deliveries)},
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {name: round(percentile(seconds, part) * 1000, 3) for name, part in (("p50", 0.5), ("p99", 0.99))}
