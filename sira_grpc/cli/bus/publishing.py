"""`sira bus pub`: publishes records."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import durations, names, pairs
from sira_grpc.cli.bus import moments, running, topics
from sira_grpc.cli.bus.ack_printer import AckPrinter
from sira_grpc.cli.bus.compression import Option, method
from sira_grpc.cli.bus.payload_source import PayloadSource
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira_client.bus import Ack, Bus, Producer

MAX_UNTOLD = 10_000
"""Records that may wait for their acks to be told."""


@connected
def pub(
    session: Session,
    topic: Annotated[str, typer.Argument(help="Name of the topic, such as `orders.eu.created`.")],
    payload: Annotated[
        str | None, typer.Argument(help="What the record carries. Without it, or as `-`, what comes on stdin.")
    ] = None,
    namespace: Namespace = None,
    key: Annotated[str, typer.Option(help="Records with the same key keep their order.")] = "",
    header: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A header; repeatable.")] = None,
    record_id: Annotated[str, typer.Option("--id", help="Sent again soon with this id, it is not stored again.")] = "",
    content_type: Annotated[str, typer.Option(help="Media type, such as `application/json`.")] = "",
    ttl: Annotated[str | None, typer.Option(help="How long it is worth delivering.")] = None,
    deliver_at: Annotated[str | None, typer.Option(help="Not to be delivered before this time.")] = None,
    delay: Annotated[str | None, typer.Option(help="Not to be delivered before so long from now.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How often to publish it.")] = 1,
    file: Annotated[Path | None, typer.Option(help="File with the payload, instead of stdin.")] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line of stdin, or of the file, is a record. Empty ones are left out.")
    ] = False,
    compression: Option = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell only how many there were.")] = False,
) -> None:
    """Publish a record, or many, and tell for each where it is and what it survives."""
    _check(payload, file, record_id, lines=lines, count=count)
    record = {
        "key": os.fsencode(key),
        "headers": pairs.parse(header, "--header") or None,
        "id": record_id,
        "content_type": content_type,
        "ttl": None if ttl is None else durations.parse(ttl, "--ttl").total_seconds(),
        "deliver_at": _deliver_at(deliver_at, delay),
    }
    full = topics.get(session, topic, namespace).name
    source = PayloadSource(payload, file, lines, count)
    told = AckPrinter(names.own(full), session.printer, quiet)

    async def work(bus: Bus) -> None:
        async with bus.producer(full, compression=method(compression), timeout=session.timeout) as producer:
            await _publish(producer, source, record, told)

    done = running.run(session, namespace, work)
    if quiet or told.records > 1:
        told.total()
    if not done:
        raise typer.Exit(ExitCode.INTERRUPTED)


async def _publish(producer: Producer, source: PayloadSource, record: dict[str, Any], told: AckPrinter) -> None:
    """Publishes what comes, and tells of each record as soon as it is acknowledged, in their order."""
    promises: asyncio.Queue[asyncio.Future[Ack] | None] = asyncio.Queue(MAX_UNTOLD)

    async def post() -> None:
        async for payload in source.payloads():
            try:
                promise = await producer.post(payload, **record)
            except ValueError as error:
                raise Failure(str(error), ExitCode.USAGE) from error
            promise.add_done_callback(lambda done: done.cancelled() or done.exception())  # one failure is told
            await promises.put(promise)
        await promises.put(None)

    async def tell() -> None:
        while (promise := await promises.get()) is not None:
            told.ack(await promise)

    tasks = [asyncio.create_task(post()), asyncio.create_task(tell())]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check(payload: str | None, file: Path | None, record_id: str, *, lines: bool, count: int) -> None:
    given = payload not in {None, "-"}
    if given and file is not None:
        raise Failure("PAYLOAD and --file exclude each other", ExitCode.USAGE)
    if given and lines:
        raise Failure("--lines: goes with stdin or --file, not with PAYLOAD", ExitCode.USAGE)
    if record_id and (lines or count > 1):
        raise Failure("--id: goes with one record only", ExitCode.USAGE)


def _deliver_at(time: str | None, delay: str | None) -> datetime | None:
    if time is not None and delay is not None:
        raise Failure("--deliver-at and --delay exclude each other", ExitCode.USAGE)
    if delay is not None:
        return datetime.now(UTC) + durations.parse(delay, "--delay")
    return None if time is None else moments.parse(time, "--deliver-at")
