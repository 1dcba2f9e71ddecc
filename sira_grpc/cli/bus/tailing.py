"""`sira bus tail`: follows topics without a subscription."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli.bus import positions, running, topics
from sira_grpc.cli.bus.positions import Offset, Position
from sira_grpc.cli.bus.record_printer import RecordPrinter
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira_client.bus import Bus, TailStart


@connected
def tail(
    session: Session,
    patterns: Annotated[
        list[str],
        typer.Argument(metavar="PATTERN...", help="Topics: `orders.eu.created`, `orders.*.created`, `orders.>`."),
    ],
    namespace: Namespace = None,
    start: Annotated[
        str, typer.Option("--from", help=f"Where to begin: {positions.HELP}, then nothing of the other partitions.")
    ] = "latest",
    max_records: Annotated[int, typer.Option("--max", min=0, help="End after so many records; 0: never.")] = 0,
) -> None:
    """Print records as they are published, until Ctrl-C. Nothing is remembered of it, and nothing acknowledged.

    It goes on where it was after a lost connection.
    """
    begin = _tail_start(positions.parse(start, "--from"), patterns)
    found = any(topics.find(session, pattern, namespace) for pattern in patterns)
    printer, printed = RecordPrinter(session.printer), 0

    async def work(bus: Bus) -> None:
        nonlocal printed
        if not found:
            say(f"there is no topic {' or '.join(patterns)} yet")
        async with bus.tail(patterns, start=begin) as records:
            async for record in records:
                printer.show(record)
                printed += 1
                if printed == max_records:
                    break

    if not running.run(session, namespace, work):
        say("stopped")


def _tail_start(position: Position, patterns: list[str]) -> TailStart:
    if not isinstance(position, Offset):
        return position
    topic = position.topic or (patterns[0] if len(patterns) == 1 else "")
    if not topic:
        where = f"{position.partition}@{position.offset}"
        raise Failure(f"--from: {where!r} must name the topic too, such as orders/{where}", ExitCode.USAGE)
    return {(topic, position.partition): position.offset}
