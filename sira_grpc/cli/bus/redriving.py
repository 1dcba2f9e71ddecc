"""`sira bus redrive`: brings dead letters back."""

from __future__ import annotations

from typing import Annotated

import typer

from sira_grpc.cli import cells, names
from sira_grpc.cli.bus.dead_letter_filters import FILTERS, Given, Ids, Subscription, chosen
from sira_grpc.cli.bus.dead_letters import LIMIT, DryRun
from sira_grpc.cli.bus.setting import taking
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.output import Format, say
from sira_grpc.cli.session import Session


@connected
@taking(FILTERS)
def redrive(
    session: Session,
    subscription: Subscription,
    ids: Ids = None,
    namespace: Namespace = None,
    to: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Publish them there, for all its subscriptions.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT, help="How many at most, the oldest first.")] = 1000,
    max_redrives: Annotated[
        int, typer.Option(min=1, max=1000, help="Leave those that were redriven this often already.")
    ] = 3,
    dry_run: DryRun = False,
    *,
    filters: Given,
) -> None:
    """Deliver dead letters again: those that are named or match, or all.

    They go back to their subscription alone, or with --to to another topic.
    """
    from sira.bus.v1.dead_letter_service_pb2 import RedriveDeadLettersRequest

    own = session.namespace(namespace)
    request = RedriveDeadLettersRequest(
        parent=names.subscription_name(subscription, own),
        filter=chosen(ids, filters),
        dry_run=dry_run,
        topic=names.topic_name(to, own) if to else "",
        limit=limit,
        max_redrives=max_redrives,
    )
    answer = session.call(session.dead_letters.RedriveDeadLetters, request)
    if session.printer.format is not Format.TABLE:
        session.printer.one(answer, ())
    say(f"{cells.count(answer.redriven, 'dead letter')} {'would be redriven' if dry_run else 'redriven'}")
    if answer.guarded:
        say(f"{answer.guarded:,} left: redriven {max_redrives} times already; --max-redrives allows more")
    if answer.impossible:
        say(f"{answer.impossible:,} left: corrupt, or their topic is gone")
    if answer.more:
        say("there are more")
