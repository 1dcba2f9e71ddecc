"""`sira identity issue`: an identity directory, straight from an operator's hand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sira_grpc.cli import durations, spiffe_names
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.identity import directory as identity_directories
from sira_grpc.cli.session import Session

DnsNames = Annotated[
    list[str] | None,
    typer.Option("--dns-name", help="A DNS name besides the one that comes with a service; repeatable."),
]
Ttl = Annotated[str | None, typer.Option(help="How long the certificate is valid. Default: as the kernel says, 1h.")]
Directory = Annotated[
    Path, typer.Option("--dir", help="Identity directory to write; made if missing, replaced if there.")
]


@connected
def issue(
    session: Session,
    name: Annotated[str, typer.Argument(help="Whom it is for: `checkout`, `ns/shop/svc/checkout`, `operator/alice`.")],
    directory: Directory,
    dns_name: DnsNames = None,
    ttl: Ttl = None,
    namespace: Namespace = None,
) -> None:
    """Have a certificate issued for a new key, and write both into an identity directory. Nobody renews it."""
    from sira.identity.v1.identity_service_pb2 import IssueCertificateRequest

    from sira_grpc.agent import keyed_svid
    from sira_grpc.svid import identity_directory, signing_request, x509_svid
    from sira_grpc.svid.identity_directory import IdentityFiles
    from sira_grpc.svid.spiffe_id import SpiffeId

    identity = SpiffeId.parse(spiffe_names.identity(session, name, namespace, "NAME"))
    try:
        key, csr = signing_request.make(identity, dns_name or ())
    except ValueError as error:
        raise Failure(f"--dns-name: {error}", ExitCode.USAGE) from error
    request = IssueCertificateRequest(csr=csr)
    if ttl is not None:
        request.ttl.FromTimedelta(durations.parse(ttl, "--ttl"))
    answer = session.call(session.identity.IssueCertificate, request)
    svid = keyed_svid.accept(answer, key, identity, now=time.time())
    roots = x509_svid.to_pem([x509_svid.read_der(der) for der in answer.bundle.x509_authorities])
    identity_directory.write(directory, IdentityFiles(svid.chain_pem, svid.key_pem, roots))
    identity_directories.tell(session.printer, directory)
