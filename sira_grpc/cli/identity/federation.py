"""`sira identity federation`: the trust bundles of other trust domains."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells
from sira_grpc.cli.commands import connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.identity.v1.federated_bundle_pb2 import FederatedBundle

app = typer.Typer(help="The trust bundles of other trust domains.", no_args_is_help=True)

Domain = Annotated[str, typer.Argument(metavar="TRUST_DOMAIN", help="The other trust domain, such as `example.org`.")]

COLUMNS: Sequence[Column[FederatedBundle]] = (
    ("TRUST DOMAIN", lambda bundle: bundle.bundle.trust_domain),
    ("ROOTS", lambda bundle: str(len(bundle.bundle.x509_authorities))),
    ("JWT KEYS", lambda bundle: str(len(bundle.bundle.jwt_authorities))),
    ("SEQUENCE", lambda bundle: str(bundle.bundle.sequence)),
    ("REFRESHED", lambda bundle: cells.moment(bundle.refresh_time)),
    ("ENDPOINT", lambda bundle: cells.text(bundle.endpoint_url)),
    ("ERROR", lambda bundle: cells.text(bundle.refresh_error)),
)


class Profile(StrEnum):
    """How a bundle endpoint proves who it is."""

    WEB = "web"
    SPIFFE = "spiffe"


@app.command("list")
@connected
def list_bundles(session: Session) -> None:
    """List the trust bundles of other trust domains."""
    from sira.identity.v1.authority_service_pb2 import ListFederatedBundlesRequest

    request = ListFederatedBundlesRequest()
    session.printer.many(session.pages(session.authority.ListFederatedBundles, request, "federated_bundles"), COLUMNS)


@app.command("set")
@connected
def set_bundle(
    session: Session,
    trust_domain: Domain,
    file: Annotated[Path | None, typer.Option(help="Its bundle as a SPIFFE bundle document; `-` for stdin.")] = None,
    endpoint_url: Annotated[str, typer.Option(help="Where it is refreshed from, an https URL.")] = "",
    profile: Annotated[
        Profile | None, typer.Option(help="How the endpoint proves who it is. `web` needs no --file.")
    ] = None,
    endpoint_identity: Annotated[str, typer.Option(help="SPIFFE ID of the endpoint, with --profile spiffe.")] = "",
) -> None:
    """Trust another trust domain, or replace its bundle."""
    from sira.identity.v1.authority_service_pb2 import SetFederatedBundleRequest
    from sira.identity.v1.federated_bundle_pb2 import BundleEndpointProfile, FederatedBundle

    endpoint = FederatedBundle(endpoint_url=endpoint_url, endpoint_identity=endpoint_identity)
    if profile is not None:
        endpoint.endpoint_profile = BundleEndpointProfile.Value(f"BUNDLE_ENDPOINT_PROFILE_HTTPS_{profile.name}")
    request = SetFederatedBundleRequest(
        trust_domain=trust_domain, document=_read(file) if file else b"", federated_bundle=endpoint
    )
    session.printer.one(session.call(session.authority.SetFederatedBundle, request).federated_bundle, COLUMNS)


@app.command("delete")
@connected
def delete_bundle(session: Session, trust_domain: Domain) -> None:
    """Trust another trust domain no more."""
    from sira.identity.v1.authority_service_pb2 import DeleteFederatedBundleRequest

    name = f"federatedBundles/{trust_domain}"
    session.call(session.authority.DeleteFederatedBundle, DeleteFederatedBundleRequest(name=name))
    say(f"deleted {name}")


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Failure(f"--file: {error}", ExitCode.USAGE) from error
