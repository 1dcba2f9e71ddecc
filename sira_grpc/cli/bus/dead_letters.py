"""`sira bus dlq`: the records that subscriptions gave up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, names
from sira_grpc.cli.bus import payloads
from sira_grpc.cli.bus.dead_letter_filters import FILTERS, Given, Ids, Subscription, chosen
from sira_grpc.cli.bus.listing import ListByDefault
from sira_grpc.cli.bus.setting import taking
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, Format, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.bus.v1.dead_letter_pb2 import DeadLetter

app = typer.Typer(cls=ListByDefault, help="Dead letters: records that were given up. `list` may be left out.")

LIMIT = 10_000
"""What is redriven or purged in one call, at most."""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; only say what would be done.")]


def _reason(letter: DeadLetter) -> str:
    from sira.bus.v1.dead_letter_pb2 import DeadLetterReason

    return DeadLetterReason.Name(letter.reason).removeprefix("DEAD_LETTER_REASON_").lower().replace("_", "-")


def _headers(letter: DeadLetter) -> str:
    headers = letter.record.attributes.headers
    return cells.text(",".join(f"{payloads.word(key)}={payloads.word(headers[key])}" for key in sorted(headers)))


COLUMNS: Sequence[Column[DeadLetter]] = (
    ("ID", lambda letter: names.own(letter.name)),
    ("RECORD", lambda letter: f"{letter.topic}/{letter.partition}@{letter.offset}"),
    ("KEY", lambda letter: cells.text(payloads.brief(letter.record.key))),
    ("REASON", _reason),
    ("DELIVERIES", lambda letter: str(letter.deliveries)),
    ("REDRIVES", lambda letter: str(letter.redrives)),
    ("AGE", lambda letter: cells.age(letter.dead_letter_time)),
    ("DETAIL", lambda letter: cells.text(payloads.word(letter.detail))),
)
DETAILS: Sequence[Column[DeadLetter]] = (
    ("NAME", lambda letter: letter.name),
    *COLUMNS[1:6],
    COLUMNS[7],
    ("CONSUMER", lambda letter: cells.text(payloads.word(letter.consumer))),
    ("RECORD ID", lambda letter: cells.text(payloads.word(letter.record.id))),
    ("HEADERS", _headers),
    ("CONTENT TYPE", lambda letter: cells.text(payloads.word(letter.record.attributes.content_type))),
    ("TRACE", lambda letter: cells.text(letter.record.attributes.trace_context.traceparent)),
    ("PUBLISHED", lambda letter: cells.moment(letter.publish_time)),
    ("GIVEN UP", lambda letter: cells.moment(letter.dead_letter_time)),
)


@app.command("list")
@connected
@taking(FILTERS)
def list_dead_letters(
    session: Session,
    subscription: Subscription,
    ids: Ids = None,
    namespace: Namespace = None,
    *,
    filters: Given,
) -> None:
    """List the dead letters of a subscription, the oldest first, without their payloads."""
    from sira.bus.v1.dead_letter_service_pb2 import ListDeadLettersRequest

    parent = names.subscription_name(subscription, session.namespace(namespace))
    request = ListDeadLettersRequest(parent=parent, filter=chosen(ids, filters))
    session.printer.many(session.pages(session.dead_letters.ListDeadLetters, request, "dead_letters"), COLUMNS)


@app.command("show")
@connected
def show_dead_letter(
    session: Session,
    subscription: Subscription,
    letter: Annotated[int, typer.Argument(metavar="ID", min=0, help="Its id, as `list` shows it.")],
    namespace: Namespace = None,
) -> None:
    """Show a dead letter, with its payload."""
    from sira.bus.v1.dead_letter_service_pb2 import GetDeadLetterRequest

    parent = names.subscription_name(subscription, session.namespace(namespace))
    request = GetDeadLetterRequest(name=f"{parent}/deadLetters/{letter}")
    found = session.call(session.dead_letters.GetDeadLetter, request).dead_letter
    session.printer.one(found, DETAILS)
    if session.printer.format is Format.TABLE:
        print("\n".join(["", *payloads.lines(found.record.payload)]))


@app.command("purge")
@connected
@taking(FILTERS)
def purge(
    session: Session,
    subscription: Subscription,
    ids: Ids = None,
    namespace: Namespace = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: they are gone for good.")] = False,
    *,
    filters: Given,
) -> None:
    """Delete dead letters for good: those that are named or match, or all."""
    from sira.bus.v1.dead_letter_service_pb2 import PurgeDeadLettersRequest, PurgeDeadLettersResponse

    if not yes and not dry_run:
        raise Failure("--yes: is missing; --dry-run says what would be deleted", ExitCode.USAGE)
    request = PurgeDeadLettersRequest(
        parent=names.subscription_name(subscription, session.namespace(namespace)),
        filter=chosen(ids, filters),
        dry_run=dry_run,
        limit=LIMIT,
    )
    total = PurgeDeadLettersResponse(more=True)
    while total.more:
        answer = session.call(session.dead_letters.PurgeDeadLetters, request)
        total.purged += answer.purged
        total.more = answer.more
        if dry_run:
            break
    if session.printer.format is not Format.TABLE:
        session.printer.one(total, ())
    more = ", or more," if total.more else ""
    say(f"{cells.count(total.purged, 'dead letter')}{more} {'would be purged' if dry_run else 'purged'}")
