"""`sira bus sub`: consumes the records of a subscription."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, names
from sira_grpc.cli.bus import running, subscriptions
from sira_grpc.cli.bus.record_printer import RecordPrinter, place
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira_client.bus import Bus, Record

PREFETCH = 1000


@dataclass(slots=True)
class _Counts:
    """How many records there were, and how many of them were acknowledged."""

    records: int = 0
    acknowledged: int = 0


@connected
def sub(
    session: Session,
    subscription: Annotated[str, typer.Argument(help="Name of the subscription, such as `billing`.")],
    namespace: Namespace = None,
    max_records: Annotated[int, typer.Option("--max", min=0, help="End after so many records; 0: never.")] = 0,
    ack: Annotated[
        bool, typer.Option("--ack/--no-ack", help="Acknowledge what was printed; or only look, and give it all back.")
    ] = True,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Instead of printing a record, run this in the shell with the payload on stdin. If that fails, the "
            "record is delivered again.",
        ),
    ] = None,
    consumer: Annotated[str, typer.Option(help="Name of this consumer, for people. Default: who we are.")] = "",
) -> None:
    """Consume records until Ctrl-C: print each, then acknowledge it.

    What --exec runs is told of the record by SIRA_RECORD_TOPIC, _PARTITION, _OFFSET, _ATTEMPT, _KEY, _ID and _HEADERS,
    which is JSON.
    """
    if command is not None and not ack:
        raise Failure("--exec and --no-ack exclude each other", ExitCode.USAGE)
    full = names.subscription_name(subscription, session.namespace(namespace))
    paused = subscriptions.get(session, full).paused
    counts, printer = _Counts(), RecordPrinter(session.printer)
    prefetch = 1 if command is not None else min(max_records or PREFETCH, PREFETCH)

    async def work(bus: Bus) -> None:
        if paused:
            say(f"{full} is paused: nothing comes until `sira bus subs resume`")
        async with bus.subscribe(full, consumer=consumer, prefetch_records=prefetch) as records:
            async for record in records:
                if command is not None:
                    counts.acknowledged += await _execute(command, record)
                elif ack:
                    async with record:
                        printer.show(record)
                    counts.acknowledged += 1
                else:
                    printer.show(record)
                counts.records += 1
                if counts.records == max_records:
                    break

    running.run(session, namespace, work)
    say(f"{cells.count(counts.records, 'record')}, {counts.acknowledged:,} acknowledged")


async def _execute(command: str, record: Record) -> bool:
    """Runs the command for a record, and settles it; returns whether it was acknowledged.

    If we are interrupted meanwhile, nothing is said of the record: it is given back.
    """
    try:
        failure = await _failure(command, record)
    except ValueError as error:
        failure = str(error)
    if not failure:
        return await record.ack()
    say(f"{place(record)}: {failure}; it is delivered again")
    await record.nak(detail=failure)
    return False


async def _failure(command: str, record: Record) -> str:
    """Runs the command, and returns how it failed; nothing if it did not.

    Raises:
        ValueError: the payload cannot be decompressed.
    """
    payload, environment = record.payload, {**os.environ, **_described(record)}
    # A group of its own, so that whatever the shell starts can be ended with it.
    shell = asyncio.create_subprocess_shell(command, stdin=asyncio.subprocess.PIPE, env=environment, process_group=0)
    starting = asyncio.create_task(shell)
    try:
        # It may run before we know of it: what is interrupted meanwhile has to be ended all the same.
        await (await asyncio.shield(starting)).communicate(payload)
    finally:
        process = await starting
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        code = await process.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}" if code else ""


def _described(record: Record) -> dict[str, str]:
    """What a command is told of a record, in its environment, where no NUL can be."""
    facts = {
        "TOPIC": record.topic,
        "PARTITION": str(record.partition),
        "OFFSET": str(record.offset),
        "ATTEMPT": str(record.attempt),
        "KEY": os.fsdecode(record.key),
        "ID": record.id,
        "HEADERS": json.dumps(dict(record.headers)),
    }
    return {f"SIRA_RECORD_{name}": value.replace("\0", "") for name, value in facts.items()}
