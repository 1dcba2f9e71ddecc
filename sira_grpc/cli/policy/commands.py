"""The commands that show and change the policies of a service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sira_grpc.cli import names, service_edits
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column
from sira_grpc.cli.policy import document, splitting, summary
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.service_pb2 import Service

Name = Annotated[str, typer.Argument(help="Name of the service, such as `checkout`.")]
Etag = Annotated[str, typer.Option(help="Refuse if the service was written since this etag was read.")]

COLUMNS: Sequence[Column[Service]] = (
    ("SERVICE", lambda service: service.name),
    ("POLICY", lambda service: summary.describe(service.traffic_policy)),
    (
        "MAY CALL",
        lambda service: summary.describe_access(service.access_policy) if service.HasField("access_policy") else "all",
    ),
    ("ETAG", lambda service: service.etag),
)


@connected
def get(session: Session, name: Name, namespace: Namespace = None) -> None:
    """Show the policies of a service: a summary, or with -o what `apply` takes."""
    service = service_edits.read(session, names.service_name(name, session.namespace(namespace)))
    session.printer.facts(service, COLUMNS, document.write(service))


@connected
def apply(
    session: Session,
    name: Name,
    file: Annotated[str, typer.Option("--file", "-f", help="YAML or JSON; `-` for stdin.")],
    namespace: Namespace = None,
    etag: Etag = "",
) -> None:
    """Replace the traffic policy of a service, or its access policy, or both: what the document has."""
    from google.protobuf.field_mask_pb2 import FieldMask
    from sira.registry.v1.registry_service_pb2 import UpdateServiceRequest

    service = document.read(file)
    service.name, service.etag = names.service_name(name, session.namespace(namespace)), etag
    request = UpdateServiceRequest(service=service, update_mask=FieldMask(paths=document.held(service)))
    _show(session, session.call(session.registry.UpdateService, request).service)


@connected
def split(
    session: Session,
    name: Name,
    shares: Annotated[
        list[str] | None, typer.Argument(metavar="VERSION=WEIGHT...", help="Such as v1=90 v2=10.")
    ] = None,
    namespace: Namespace = None,
    off: Annotated[bool, typer.Option("--off", help="To all versions again, instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also to versions of which there is no endpoint.")] = False,
) -> None:
    """Send the calls that no route matches to versions of a service, by weight. It changes in one step."""
    if off == bool(shares):
        raise Failure("give either VERSION=WEIGHT... or --off", ExitCode.USAGE)
    full = names.service_name(name, session.namespace(namespace))
    weights = splitting.parse(shares or ()) if not off else {}
    if not force:
        _check_versions(session, full, [version for version, weight in weights.items() if weight])

    def change(service: Service) -> bool:
        policy = service.traffic_policy
        return splitting.unsplit(policy) if off else splitting.split(policy, weights)

    _show(session, service_edits.edit(session, full, ["traffic_policy.routes"], change))


@connected
def clear(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    access: Annotated[bool, typer.Option("--access", help="Also who may call it: everybody may, then.")] = False,
) -> None:
    """Remove the traffic policy of a service: its calls are spread round robin, and nothing else."""

    def change(service: Service) -> bool:
        there = document.held(service)
        for field in fields:
            service.ClearField(field)
        return there != document.held(service)

    fields: list[Literal["traffic_policy", "access_policy"]] = ["traffic_policy"]
    if access:
        fields.append("access_policy")
    full = names.service_name(name, session.namespace(namespace))
    _show(session, service_edits.edit(session, full, fields, change))


def _show(session: Session, service: Service) -> None:
    session.printer.facts(service, COLUMNS, document.write(service))


def _check_versions(session: Session, service: str, versions: Sequence[str]) -> None:
    """Refuses versions that nobody has: what goes there fails."""
    from sira.registry.v1.resolver_service_pb2 import ListEndpointsRequest

    endpoints = session.pages(session.resolver.ListEndpoints, ListEndpointsRequest(parent=service), "endpoints")
    there = {endpoint.version for endpoint in endpoints}
    for version in versions:
        if version not in there:
            known = ", ".join(sorted(there - {""})) or "none has a version"
            raise Failure(
                f"no endpoint of {service} has the version {version}: calls would fail; there are: {known}; "
                "--force splits all the same",
                ExitCode.CONFLICT,
            )
