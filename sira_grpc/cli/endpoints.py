"""`sira endpoints`: the running instances of services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import cells, names, pairs
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.endpoint_pb2 import Endpoint

app = typer.Typer(help="Endpoints: the running instances of services.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SERVICE/ENDPOINT", help="Name of the endpoint, such as `checkout/a`.")]


def _state(endpoint: Endpoint) -> str:
    return cells.state(endpoint.status.state, suspect=endpoint.status.suspect)


COLUMNS: Sequence[Column[Endpoint]] = (
    ("NAME", lambda endpoint: names.short(endpoint.name)),
    ("ADDRESS", cells.endpoint_address),
    ("STATE", _state),
    ("LOCALITY", lambda endpoint: cells.locality(endpoint.locality)),
    ("WEIGHT", lambda endpoint: str(endpoint.weight or 100)),
    ("VERSION", lambda endpoint: cells.text(endpoint.version)),
    ("TAGS", lambda endpoint: cells.text(",".join(endpoint.tags))),
    ("AGE", lambda endpoint: cells.age(endpoint.create_time)),
)
DETAILS: Sequence[Column[Endpoint]] = (
    ("NAME", lambda endpoint: endpoint.name),
    ("ADDRESSES", lambda endpoint: " ".join(cells.address(host, endpoint.port) for host in endpoint.addresses)),
    ("STATE", _state),
    ("CAUSE", lambda endpoint: cells.text(endpoint.status.cause)),
    ("SINCE", lambda endpoint: cells.moment(endpoint.status.state_time)),
    ("CHECK", lambda endpoint: endpoint.health_check.WhichOneof("kind") or "none"),
    ("LEASE", lambda endpoint: endpoint.lease),
    *COLUMNS[3:7],
    ("METADATA", lambda endpoint: cells.labels(endpoint.metadata)),
    ("CREATED", lambda endpoint: cells.moment(endpoint.create_time)),
    ("UPDATED", lambda endpoint: cells.moment(endpoint.update_time)),
    ("ETAG", lambda endpoint: endpoint.etag),
)


@app.command("list")
@connected
def list_endpoints(
    session: Session,
    service: Annotated[str, typer.Argument(help="Name of the service; without it, of all services.")] = "-",
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    query: Annotated[str, typer.Option("--filter", help='Such as `status.state = "SERVING"` or `tags:"gpu"`.')] = "",
) -> None:
    """List endpoints by name, healthy or not."""
    from sira.registry.v1.resolver_service_pb2 import ListEndpointsRequest

    parent = names.service_name(service, "-" if everywhere else session.namespace(namespace))
    request = ListEndpointsRequest(parent=parent, filter=query)
    session.printer.many(session.pages(session.resolver.ListEndpoints, request, "endpoints"), COLUMNS)


@app.command("get")
@connected
def get_endpoint(session: Session, name: Name, namespace: Namespace = None) -> None:
    """Show one endpoint."""
    from sira.registry.v1.resolver_service_pb2 import GetEndpointRequest

    request = GetEndpointRequest(name=names.endpoint_name(name, session.namespace(namespace)))
    session.printer.one(session.call(session.resolver.GetEndpoint, request).endpoint, DETAILS)


@app.command("update")
@connected
def update_endpoint(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    weight: Annotated[int | None, typer.Option(help="Share of calls relative to its peers; 100 is usual.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the software that runs there.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; repeatable.")] = None,
    metadata: pairs.Metadata = None,
    etag: Annotated[str, typer.Option(help="Refuse if it was written since this etag was read.")] = "",
) -> None:
    """Change what is given, and leave the rest. Tags and metadata are replaced as a whole."""
    from google.protobuf.field_mask_pb2 import FieldMask
    from sira.registry.v1.endpoint_pb2 import Endpoint
    from sira.registry.v1.registry_service_pb2 import UpdateEndpointRequest

    given = {"weight": weight, "version": version, "tags": tag, "metadata": metadata and pairs.parse(metadata)}
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise Failure("nothing to change: give --weight, --version, --tag or --metadata", ExitCode.USAGE)
    full = names.endpoint_name(name, session.namespace(namespace))
    request = UpdateEndpointRequest(
        endpoint=Endpoint(name=full, etag=etag, **changes), update_mask=FieldMask(paths=list(changes))
    )
    session.printer.one(session.call(session.registry.UpdateEndpoint, request).endpoint, DETAILS)


@app.command("delete")
@connected
def delete_endpoint(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    etag: Annotated[str, typer.Option(help="Refuse if it was written since this etag was read.")] = "",
) -> None:
    """Remove an endpoint, whoever holds its lease."""
    from sira.registry.v1.registry_service_pb2 import DeleteEndpointRequest

    full = names.endpoint_name(name, session.namespace(namespace))
    session.call(session.registry.DeleteEndpoint, DeleteEndpointRequest(name=full, etag=etag))
    say(f"deleted {full}")
