"""`sira identity bundle`: whom a trust domain is vouched for by."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from sira_grpc.cli.commands import connected
from sira_grpc.cli.output import Format
from sira_grpc.cli.session import Session


class BundleForm(StrEnum):
    """What `--format` takes."""

    PEM = "pem"
    SPIFFE = "spiffe"


@connected
def bundle(
    session: Session,
    trust_domain: Annotated[
        str, typer.Argument(metavar="TRUST_DOMAIN", help="A federated one; left out, the kernel's own.")
    ] = "",
    form: Annotated[
        BundleForm, typer.Option("--format", help="Root certificates as PEM, or a SPIFFE bundle document.")
    ] = BundleForm.PEM,
) -> None:
    """Print a trust bundle, for files that others verify with. With -o json or yaml, print the message."""
    from sira.identity.v1.identity_service_pb2 import GetTrustBundleRequest

    from sira_grpc.svid import bundle_document, x509_svid

    answer = session.call(session.identity.GetTrustBundle, GetTrustBundleRequest(trust_domain=trust_domain)).bundle
    if session.printer.format is not Format.TABLE:
        session.printer.one(answer, ())
    elif form is BundleForm.SPIFFE:
        print(bundle_document.write(answer).decode())
    else:
        roots = x509_svid.to_pem([x509_svid.read_der(der) for der in answer.x509_authorities])
        sys.stdout.write(roots.decode())
