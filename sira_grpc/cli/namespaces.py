"""`sira namespaces`: what holds services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import cells, names, pairs
from sira_grpc.cli.commands import connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.namespace_pb2 import Namespace

app = typer.Typer(help="Namespaces: what holds services.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the namespace, such as `shop`.")]
Description = Annotated[str | None, typer.Option(help="Free text for people.")]
Etag = Annotated[str, typer.Option(help="Refuse if the namespace was written since this etag was read.")]

COLUMNS: Sequence[Column[Namespace]] = (
    ("NAME", lambda namespace: names.short(namespace.name)),
    ("DESCRIPTION", lambda namespace: cells.text(namespace.description)),
    ("METADATA", lambda namespace: cells.labels(namespace.metadata)),
    ("AGE", lambda namespace: cells.age(namespace.create_time)),
)
DETAILS: Sequence[Column[Namespace]] = (
    *COLUMNS[:3],
    ("CREATED", lambda namespace: cells.moment(namespace.create_time)),
    ("UPDATED", lambda namespace: cells.moment(namespace.update_time)),
    ("ETAG", lambda namespace: namespace.etag),
)


@app.command("list")
@connected
def list_namespaces(
    session: Session,
    query: Annotated[str, typer.Option("--filter", help='Such as `metadata.team = "pay"`.')] = "",
) -> None:
    """List namespaces by name."""
    from sira.registry.v1.resolver_service_pb2 import ListNamespacesRequest

    found = session.pages(session.resolver.ListNamespaces, ListNamespacesRequest(filter=query), "namespaces")
    session.printer.many(found, COLUMNS)


@app.command("get")
@connected
def get_namespace(session: Session, name: Name) -> None:
    """Show one namespace."""
    from sira.registry.v1.resolver_service_pb2 import GetNamespaceRequest

    request = GetNamespaceRequest(name=names.namespace_name(name))
    session.printer.one(session.call(session.resolver.GetNamespace, request).namespace, DETAILS)


@app.command("create")
@connected
def create_namespace(
    session: Session, name: Name, description: Description = None, metadata: pairs.Metadata = None
) -> None:
    """Create a namespace."""
    from sira.registry.v1.namespace_pb2 import Namespace
    from sira.registry.v1.registry_service_pb2 import CreateNamespaceRequest

    namespace = Namespace(
        name=names.namespace_name(name), description=description or "", metadata=pairs.parse(metadata)
    )
    made = session.call(session.registry.CreateNamespace, CreateNamespaceRequest(namespace=namespace))
    session.printer.one(made.namespace, DETAILS)


@app.command("update")
@connected
def update_namespace(
    session: Session,
    name: Name,
    description: Description = None,
    metadata: pairs.Metadata = None,
    etag: Etag = "",
) -> None:
    """Change what is given, and leave the rest. Metadata is replaced as a whole."""
    from google.protobuf.field_mask_pb2 import FieldMask
    from sira.registry.v1.namespace_pb2 import Namespace
    from sira.registry.v1.registry_service_pb2 import UpdateNamespaceRequest

    given = {"description": description, "metadata": metadata and pairs.parse(metadata)}
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise Failure("nothing to change: give --description or --metadata", ExitCode.USAGE)
    request = UpdateNamespaceRequest(
        namespace=Namespace(name=names.namespace_name(name), etag=etag, **changes),
        update_mask=FieldMask(paths=list(changes)),
    )
    session.printer.one(session.call(session.registry.UpdateNamespace, request).namespace, DETAILS)


@app.command("delete")
@connected
def delete_namespace(
    session: Session,
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Delete what is in it too.")] = False,
    etag: Etag = "",
) -> None:
    """Delete a namespace that is empty."""
    from sira.registry.v1.registry_service_pb2 import DeleteNamespaceRequest

    full = names.namespace_name(name)
    session.call(session.registry.DeleteNamespace, DeleteNamespaceRequest(name=full, force=force, etag=etag))
    say(f"deleted {full}")
