"""`sira bus pub`: publishes records."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import cells, durations, names, pairs
from sira_grpc.cli.bus import moments, reading, running, topics
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Format, Printer, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira_client.bus import Ack, Bus, Compression, Producer

MAX_UNTOLD = 10_000
"""Records that may wait for their acks to be told."""


class CompressionName(StrEnum):
    """What `--compression` takes."""

    ZSTD = "zstd"
    LZ4 = "lz4"


@dataclass(frozen=True, slots=True)
class _Source:
    """Where payloads come from: an argument, or else a file or stdin."""

    payload: str | None
    file: Path | None
    lines: bool
    count: int

    async def payloads(self) -> AsyncIterator[bytes]:
        """Yields each payload, as often as it is to be published."""
        if self.payload not in {None, "-"}:
            for _ in range(self.count):
                yield os.fsencode(str(self.payload))
            return
        named = "stdin" if self.file is None else f"--file: {self.file}"
        with nullcontext(sys.stdin.buffer) if self.file is None else _opened(self.file) as stream:
            if self.lines:
                async for line in reading.lines(stream, named):
                    for _ in range(self.count):
                        yield line
            else:
                read = await reading.whole(stream, named)
                for _ in range(self.count):
                    yield read


@dataclass(slots=True)
class _Told:
    """Tells where records went.

    Attributes:
        topic: name without its namespace.
        quiet: only their number is told.
        records, duplicates: how many there were.
        durability: what all of them survive.
    """

    topic: str
    printer: Printer
    quiet: bool
    records: int = 0
    duplicates: int = 0
    durability: set[str] = field(default_factory=set)

    def ack(self, ack: Ack) -> None:
        """Tells of one."""
        self.records += 1
        self.duplicates += ack.duplicate
        self.durability.add(ack.durability)
        if self.quiet:
            return
        if self.printer.format is Format.TABLE:
            print("  ".join(self._line(ack)), flush=True)
        else:
            self.printer.next_data(
                {
                    "topic": self.topic,
                    "partition": ack.partition,
                    "offset": str(ack.offset),
                    "durability": f"DURABILITY_{ack.durability.upper()}",
                    "duplicate": ack.duplicate,
                }
            )

    def _line(self, ack: Ack) -> Iterator[str]:
        yield f"{self.topic}/{ack.partition}" + ("" if ack.offset < 0 else f"@{ack.offset}")
        yield ack.durability
        if ack.duplicate:
            yield "duplicate"
        elif ack.offset < 0:
            yield "scheduled"

    def total(self) -> None:
        """Tells how many there were."""
        there = f", {self.duplicates:,} of them were there before" if self.duplicates else ""
        on = f" ({'; '.join(sorted(self.durability))})" if self.durability else ""
        say(f"{cells.count(self.records, 'record')} published to {self.topic}{on}{there}")


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
    compression: Annotated[
        CompressionName | None, typer.Option(help="Of the payloads, where it gains anything.")
    ] = None,
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
    source = _Source(payload, file, lines, count)
    told = _Told(names.own(full), session.printer, quiet)
    method: Compression = None
    if compression is not None:
        method = "zstd" if compression is CompressionName.ZSTD else "lz4"

    async def work(bus: Bus) -> None:
        async with bus.producer(full, compression=method, timeout=session.timeout) as producer:
            await _publish(producer, source, record, told)

    done = running.run(session, namespace, work)
    if quiet or told.records > 1:
        told.total()
    if not done:
        raise typer.Exit(ExitCode.INTERRUPTED)


async def _publish(producer: Producer, source: _Source, record: dict[str, Any], told: _Told) -> None:
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


def _opened(file: Path) -> Any:
    try:
        return file.open("rb", buffering=0)
    except OSError as error:
        raise Failure(f"--file: {error}", ExitCode.USAGE) from error
