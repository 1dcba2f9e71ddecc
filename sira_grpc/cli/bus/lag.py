"""`sira bus lag`: how far subscriptions have come."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import durations, names
from sira_grpc.cli.bus import subscriptions
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, Format, plain, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.bus.v1.subscription_pb2 import PartitionLag, Subscription

Row = tuple["Subscription", "PartitionLag | None"]
"""A partition; or a subscription as a whole."""
CLEAR = "\x1b[H\x1b[2J"
"""Moves a terminal's cursor home, and clears what is below."""

COLUMNS: Sequence[Column[Row]] = (
    ("SUBSCRIPTION", lambda row: names.short(row[0].name)),
    ("TOPIC", lambda row: _of(row, "topic")),
    ("PARTITION", lambda row: _of(row, "partition")),
    ("SETTLED", lambda row: _of(row, "settled_offset")),
    ("NEXT", lambda row: _of(row, "next_offset")),
    ("LAG", lambda row: _of(row, "lag") or str(row[0].status.lag)),
    ("OUTSTANDING", lambda row: _of(row, "outstanding")),
    ("RETRYING", lambda row: _of(row, "retrying")),
    ("DEAD LETTERS", lambda row: str(row[0].status.dead_letters) if row[1] is None else ""),
    ("CONSUMERS", lambda row: str(row[0].status.consumers) if row[1] is None else ""),
)


@connected
def lag(
    session: Session,
    subscription: Annotated[str | None, typer.Argument(help="Name of the subscription. Without it, all.")] = None,
    namespace: Namespace = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again whenever it has changed, until Ctrl-C.")] = False,
    every: Annotated[str, typer.Option(help="With --watch: how often to look.")] = "1s",
) -> None:
    """Show for each subscription, and each partition that it reads, what is settled and what is not."""
    pause = durations.parse(every, "--every").total_seconds()
    if not pause:
        raise Failure("--every: must be above 0", ExitCode.USAGE)
    if not watch:
        session.printer.many(_Found(session, subscription, namespace), COLUMNS) if False else None
    _show(session, _look(session, subscription, namespace))
    if not watch:
        return
