"""`sira drain`: takes endpoints out of use without a failed call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import durations, names, place
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, Format, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.registry_service_pb2 import DrainResponse, EndpointDrain

COLUMNS: Sequence[Column[EndpointDrain]] = (
    ("NAME", lambda endpoint: names.short(endpoint.name)),
    ("IN FLIGHT", lambda endpoint: str(endpoint.in_flight) if endpoint.HasField("in_flight") else "not reported"),
)


@connected
def drain(
    session: Session,
    targets: Annotated[list[str], typer.Argument(metavar="NAME...", help="`checkout`, or `checkout/a` for one of it.")],
    namespace: Namespace = None,
    region: place.Region = "",
    zone: place.Zone = "",
    wait: Annotated[str, typer.Option(help="How long to wait; 0 marks them and does not wait.")] = "30s",
    cause: Annotated[str, typer.Option(help="Why, for people.")] = "",
    cancel: Annotated[bool, typer.Option("--cancel", help="Take endpoints out of draining instead.")] = False,
) -> None:
    """Mark endpoints DRAINING, and wait until every watcher knows and nothing is in flight.

    Ends in exit code 7 if the wait was over first; they go on draining.
    """
    from sira.registry.v1.registry_service_pb2 import DrainOutcome

    full = [names.service_or_endpoint_name(target, session.namespace(namespace)) for target in targets]
    if cancel:
        _cancel(session, full)
        return
    answer = _drain(session, full, (region, zone), wait, cause)
    if session.printer.format is Format.TABLE:
        session.printer.many(answer.endpoints, COLUMNS)
    else:
        session.printer.one(answer, ())
    told = f"{answer.watchers_notified} watchers told"
    if answer.outcome == DrainOutcome.DRAIN_OUTCOME_DRAINED:
        say(f"drained: {told}")
    else:
        still = f"{answer.watchers_pending} not yet"
        raise Failure(f"not drained within {wait}: {told}, {still}; still draining", ExitCode.DEADLINE)


def _drain(session: Session, full: Sequence[str], where: tuple[str, str], wait: str, cause: str) -> DrainResponse:
    from google.protobuf.duration_pb2 import Duration
    from sira.registry.v1.registry_service_pb2 import DrainRequest

    span = durations.parse(wait, "--wait")
    timeout = Duration()
    timeout.FromTimedelta(span)
    request = DrainRequest(names=full, locality=place.locality(*where), timeout=timeout, cause=cause)
    return session.call(session.registry.Drain, request, longer=span.total_seconds())


def _cancel(session: Session, full: Sequence[str]) -> None:
    from sira.registry.v1.registry_service_pb2 import CancelDrainRequest

    session.call(session.registry.CancelDrain, CancelDrainRequest(names=full))
    say(f"no longer draining: {', '.join(full)}")
