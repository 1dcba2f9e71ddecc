"""`sira watch`: a service and its endpoints, as they change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, names
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.endpoint_pb2 import Endpoint
    from sira.registry.v1.resolver_service_pb2 import WatchResponse


class ChangeLines:
    """Tells each message of a watch in lines, in the light of those before it."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._partial = False

    def lines(self, message: WatchResponse) -> Iterator[str]:
        """Yields a line for each endpoint that is new, changed or gone. Progress has none."""
        revision = message.revision
        if message.HasField("snapshot"):
            yield from self._snapshot(message)
        elif message.HasField("changes"):
            for endpoint in message.changes.upserted:
                kind = "changed" if endpoint.name in self._known else "added"
                self._known.add(endpoint.name)
                yield _line(revision, kind, endpoint)
            for name in message.changes.deleted:
                self._known.discard(name)
                yield f"{revision:>8}  {'[red]deleted[/]':<17}  {names.short(name)}"
            if message.changes.HasField("service"):
                yield f"{revision:>8}  {'service':<8}  {names.short(message.changes.service.name)}"

    def _snapshot(self, message: WatchResponse) -> Iterator[str]:
        if not self._partial:
            self._known.clear()
        self._partial = message.snapshot.more
        for endpoint in message.snapshot.endpoints:
            self._known.add(endpoint.name)
            yield _line(message.revision, "there", endpoint)


def _line(revision: int, kind: str, endpoint: Endpoint) -> str:
    address = cells.endpoint_address(endpoint)
    state = cells.state(endpoint.status.state, suspect=endpoint.status.suspect)
    return f"{revision:>8}  {kind:<8}  {names.short(endpoint.name):<32}  {address:<22}  {state}"


@connected
def watch(
    session: Session,
    service: Annotated[str, typer.Argument(help="Name of the service, such as `checkout`.")],
    namespace: Namespace = None,
    start_revision: Annotated[int, typer.Option(min=0, help="Go on after this revision; 0: begin with all.")] = 0,
) -> None:
    """Follow a service and its endpoints, healthy or not, until Ctrl-C.

    As JSON, each message is one line: a snapshot, then changes and progress, each with the revision to go on from.
    """
    from sira.registry.v1.resolver_service_pb2 import WatchRequest

    name = names.service_name(service, session.namespace(namespace))
    request = WatchRequest(service=name, start_revision=start_revision)
    changes = ChangeLines()
    try:
        for message in session.stream(session.resolver.Watch, request):
            session.printer.next(message, lambda message=message: changes.lines(message))  # type: ignore[misc]
    except KeyboardInterrupt:
        say("stopped")
