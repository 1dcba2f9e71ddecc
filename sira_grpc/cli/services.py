"""`sira services`: names that callers resolve, and how their calls are spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import cells, names, pairs
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, say
from sira_grpc.cli.policy import options, summary
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.service_pb2 import Service

app = typer.Typer(help="Services: names that callers resolve, and how calls are spread.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the service, such as `checkout`.")]
Description = Annotated[str | None, typer.Option(help="Free text for people.")]
Etag = Annotated[str, typer.Option(help="Refuse if the service was written since this etag was read.")]


def _endpoints(service: Service) -> str:
    status = service.status
    paused = " (expiry paused)" if status.expiry_paused else ""
    return f"{status.healthy_endpoints}/{status.endpoints}{paused}"


COLUMNS: Sequence[Column[Service]] = (
    ("NAME", lambda service: names.short(service.name)),
    ("HEALTHY", _endpoints),
    ("POLICY", lambda service: summary.describe(service.traffic_policy)),
    ("WATCHERS", lambda service: str(service.status.watchers)),
    ("AGE", lambda service: cells.age(service.create_time)),
)
DETAILS: Sequence[Column[Service]] = (
    ("NAME", lambda service: service.name),
    ("DESCRIPTION", lambda service: cells.text(service.description)),
    ("METADATA", lambda service: cells.labels(service.metadata)),
    *COLUMNS[1:4],
    ("CREATED", lambda service: cells.moment(service.create_time)),
    ("UPDATED", lambda service: cells.moment(service.update_time)),
    ("ETAG", lambda service: service.etag),
)


@app.command("list")
@connected
def list_services(
    session: Session,
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    query: Annotated[str, typer.Option("--filter", help='Such as `metadata.team = "pay"`.')] = "",
) -> None:
    """List the services of a namespace by name."""
    from sira.registry.v1.resolver_service_pb2 import ListServicesRequest

    parent = names.namespace_name("-" if everywhere else session.namespace(namespace))
    request = ListServicesRequest(parent=parent, filter=query)
    session.printer.many(session.pages(session.resolver.ListServices, request, "services"), COLUMNS)


@app.command("get")
@connected
def get_service(session: Session, name: Name, namespace: Namespace = None) -> None:
    """Show one service."""
    from sira.registry.v1.resolver_service_pb2 import GetServiceRequest

    request = GetServiceRequest(name=names.service_name(name, session.namespace(namespace)))
    session.printer.one(session.call(session.resolver.GetService, request).service, DETAILS)


@app.command("create")
@connected
def create_service(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    description: Description = None,
    metadata: pairs.Metadata = None,
    lb_policy: options.LbPolicyOption = None,
    locality_failover: options.Failover = None,
    slow_start: options.SlowStartWindow = None,
    subset_size: options.SubsetSize = None,
    call_timeout: options.CallTimeout = None,
    tls: options.Tls = None,
) -> None:
    """Create a service in a namespace that is there."""
    from sira.registry.v1.registry_service_pb2 import CreateServiceRequest
    from sira.registry.v1.service_pb2 import Service

    service = Service(
        name=names.service_name(name, session.namespace(namespace)),
        description=description or "",
        metadata=pairs.parse(metadata),
    )
    options.fill(
        service.traffic_policy,
        lb_policy=lb_policy,
        failover=locality_failover,
        slow_start=slow_start,
        subset_size=subset_size,
        call_timeout=call_timeout,
        tls=tls,
    )
    if not service.traffic_policy.ListFields():
        service.ClearField("traffic_policy")
    made = session.call(session.registry.CreateService, CreateServiceRequest(service=service))
    session.printer.one(made.service, DETAILS)


@app.command("update")
@connected
def update_service(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    description: Description = None,
    metadata: pairs.Metadata = None,
    lb_policy: options.LbPolicyOption = None,
    locality_failover: options.Failover = None,
    slow_start: options.SlowStartWindow = None,
    subset_size: options.SubsetSize = None,
    call_timeout: options.CallTimeout = None,
    tls: options.Tls = None,
    etag: Etag = "",
) -> None:
    """Change what is given, and leave the rest. Metadata is replaced as a whole."""
    from google.protobuf.field_mask_pb2 import FieldMask
    from sira.registry.v1.registry_service_pb2 import UpdateServiceRequest
    from sira.registry.v1.service_pb2 import Service

    given = {"description": description, "metadata": metadata and pairs.parse(metadata)}
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    service = Service(name=names.service_name(name, session.namespace(namespace)), etag=etag, **changes)
    filled = options.fill(
        service.traffic_policy,
        lb_policy=lb_policy,
        failover=locality_failover,
        slow_start=slow_start,
        subset_size=subset_size,
        call_timeout=call_timeout,
        tls=tls,
    )
    paths = [*changes, *filled]
    if not paths:
        raise Failure("nothing to change: give --description, --metadata or an option of the policy", ExitCode.USAGE)
    request = UpdateServiceRequest(service=service, update_mask=FieldMask(paths=paths))
    session.printer.one(session.call(session.registry.UpdateService, request).service, DETAILS)


@app.command("delete")
@connected
def delete_service(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    force: Annotated[bool, typer.Option("--force", help="Delete its endpoints too.")] = False,
    etag: Etag = "",
) -> None:
    """Delete a service that has no endpoints."""
    from sira.registry.v1.registry_service_pb2 import DeleteServiceRequest

    full = names.service_name(name, session.namespace(namespace))
    session.call(session.registry.DeleteService, DeleteServiceRequest(name=full, force=force, etag=etag))
    say(f"deleted {full}")
