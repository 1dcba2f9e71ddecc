"""`sira identity status`: the trust domain, its authorities, and how far a rotation has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sira_grpc.cli import cells
from sira_grpc.cli.commands import connected
from sira_grpc.cli.identity import rotation
from sira_grpc.cli.output import Column, Format
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.identity.v1.authority_pb2 import Authority
    from sira.identity.v1.authority_service_pb2 import IdentityStatus


def _rotation(status: IdentityStatus) -> str:
    return rotation.line(status.rotation) if status.HasField("rotation") else ""


def _state(authority: Authority) -> str:
    from sira.identity.v1.authority_pb2 import AuthorityState

    name = AuthorityState.Name(authority.state).removeprefix("AUTHORITY_STATE_")
    return f"[green]{name}[/]" if name == "ISSUING" else name


COLUMNS: Sequence[Column[IdentityStatus]] = (
    ("TRUST DOMAIN", lambda status: status.trust_domain),
    ("CERTIFICATES", lambda status: f"{status.live_certificates} live"),
    ("JOIN TOKENS", lambda status: f"{status.join_tokens} usable"),
    ("WATCHERS", lambda status: str(status.watchers)),
    ("FEDERATED", lambda status: " ".join(status.federated)),
    ("ROTATION", _rotation),
    ("LAST ROTATION", lambda status: cells.moment(status.last_rotation_time)),
)
AUTHORITIES: Sequence[Column[Authority]] = (
    ("AUTHORITY", lambda authority: authority.id),
    ("STATE", _state),
    ("CERTIFICATES", lambda authority: str(authority.live_certificates)),
    ("ROOT EXPIRES", lambda authority: cells.moment(authority.root_expire_time)),
    ("INTERMEDIATE EXPIRES", lambda authority: cells.moment(authority.intermediate_expire_time)),
    ("UPSTREAM", lambda authority: "external" if authority.external else "own root"),
    ("ROOT SHA-256", lambda authority: authority.root_sha256),
)


@connected
def status(session: Session) -> None:
    """Show the trust domain, its authorities, and what a rotation waits for."""
    from sira.identity.v1.authority_service_pb2 import GetIdentityStatusRequest

    answer = session.call(session.authority.GetIdentityStatus, GetIdentityStatusRequest()).status
    session.printer.one(answer, COLUMNS)
    if session.printer.format is Format.TABLE:
        print()
        session.printer.rows(answer.authorities, AUTHORITIES)
