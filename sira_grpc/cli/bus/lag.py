"""`sira bus lag`: how far subscriptions have come."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

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

CLEAR = "\x1b[H\x1b[2J"
"""Moves the cursor of a terminal home, and clears the screen."""


class Row(NamedTuple):
    """A partition that a subscription reads, or none if it reads nothing. The first tells of the subscription too."""

    subscription: Subscription
    partition: PartitionLag | None
    first: bool


def _of(field: str) -> Column[Row]:
    title = field.removesuffix("_offset").upper()
    return title, lambda row: "" if row.partition is None else str(getattr(row.partition, field))


COLUMNS: Sequence[Column[Row]] = (
    ("SUBSCRIPTION", lambda row: names.short(row.subscription.name)),
    *map(_of, ("topic", "partition", "settled_offset", "next_offset", "lag", "outstanding", "retrying")),
    ("DEAD LETTERS", lambda row: str(row.subscription.status.dead_letters) if row.first else ""),
    ("CONSUMERS", lambda row: str(row.subscription.status.consumers) if row.first else ""),
)


@connected
def lag(
    session: Session,
    subscription: Annotated[str | None, typer.Argument(help="Name of the subscription. Without it, all.")] = None,
    namespace: Namespace = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again whenever it has changed, until Ctrl-C.")
    ] = False,
    every: Annotated[str, typer.Option(help="With --watch: how often to look.")] = "1s",
) -> None:
    """Show what each subscription has settled in each partition, and what it has not."""
    pause = durations.parse(every, "--every").total_seconds()
    if not pause:
        raise Failure("--every: must be above 0", ExitCode.USAGE)
    found = _look(session, subscription, namespace)
    if not watch:
        _show(session, found)
        return
    try:
        _show_next(session, found)
        while True:
            time.sleep(pause)
            before, found = found, _look(session, subscription, namespace)
            if found != before:
                _show_next(session, found)
    except KeyboardInterrupt:
        say("stopped")


def _look(session: Session, subscription: str | None, namespace: str | None) -> list[Subscription]:
    own = session.namespace(namespace)
    if subscription is not None:
        return [subscriptions.get(session, names.subscription_name(subscription, own))]
    return [subscriptions.get(session, each.name) for each in subscriptions.find(session, own)]


def _show(session: Session, found: Sequence[Subscription]) -> None:
    if session.printer.format is Format.TABLE:
        session.printer.rows([row for each in found for row in rows(each)], COLUMNS)
    else:
        session.printer.data([plain(each) for each in found])


def _show_next(session: Session, found: Sequence[Subscription]) -> None:
    if session.printer.format is not Format.TABLE:
        for each in found:
            session.printer.next_data(plain(each))
        return
    if sys.stdout.isatty():
        sys.stdout.write(CLEAR)
    _show(session, found)
    sys.stdout.flush()


def rows(subscription: Subscription) -> Iterator[Row]:
    """The rows of a subscription: one for each partition, but one at least."""
    partitions = subscription.status.partitions
    yield Row(subscription, partitions[0] if partitions else None, first=True)
    for partition in partitions[1:]:
        yield Row(subscription, partition, first=False)
