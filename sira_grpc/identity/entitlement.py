"""Entitlement: which identities a caller, or the bearer of a join token, may have issued."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sira.identity.v1.join_token_pb2 import JoinToken

from sira_grpc.errors import IdentityNotAllowed, Unauthenticated
from sira_grpc.identity.callers import Caller
from sira_grpc.identity.view import IdentityView
from sira_grpc.svid import spiffe_id
from sira_grpc.svid.spiffe_id import SpiffeId


class Entitlement:
    """The rules of issuing, in one place.

    | who asks | may have issued |
    |---|---|
    | the bearer of a join token | what its `identities` cover, with DNS names that its `dns_names` cover |
    | an operator | any identity of the trust domain, with any DNS names |
    | a node | its own; what its join token `delegated`, without DNS names of choice |
    | every other identity | its own |

    Who renews its own keeps the DNS names of the certificate that it shows. The DNS name that comes with a service is
    always allowed.
    """

    def __init__(self, view: IdentityView, trust_domain: str) -> None:
        self._view = view
        self._trust_domain = trust_domain

    def of_token(self, token: JoinToken, identity: SpiffeId, dns_names: Sequence[str]) -> None:
        """Returns if the bearer of a token may have an identity with these DNS names.

        Raises:
            IdentityNotAllowed.
        """
        if not _covered(token.identities, identity):
            raise _refusal(f"the join token is not good for {identity}", identity)
        for name in _chosen(identity, dns_names):
            if not any(_dns_covered(pattern, name) for pattern in token.dns_names):
                raise _refusal(f"the join token is not good for the DNS name {name}", identity)

    def of_caller(self, caller: Caller | None, identity: SpiffeId, dns_names: Sequence[str] = ()) -> None:
        """Returns if a caller may have an identity issued with these DNS names.

        Raises:
            Unauthenticated: it has no certificate.
            IdentityNotAllowed.
        """
        if caller is None:
            raise Unauthenticated("a certificate or a join token is needed")
        if not caller.serial:
            raise Unauthenticated("a certificate is needed: a token does not have others issued")
        if identity.trust_domain != self._trust_domain:
            raise _refusal(f"{identity} is not of the trust domain {self._trust_domain}", identity)
        if caller.identity.kind == spiffe_id.OPERATOR:
            return
        record = self._view.certificates.get(caller.serial)
        if identity == caller.identity:
            allowed = set(record.value.dns_names) if record is not None else set()
        elif record is not None and caller.identity.kind == spiffe_id.NODE:
            allowed = set()
            if not _covered(record.value.delegated, identity):
                raise _refusal(f"{identity} is not delegated to {caller.name}", identity)
        else:
            raise _refusal(f"{caller.name} may have certificates issued for itself only", identity)
        for name in _chosen(identity, dns_names):
            if name not in allowed:
                raise _refusal(f"{caller.name} may not have the DNS name {name}", identity)


def _covered(patterns: Iterable[str], identity: SpiffeId) -> bool:
    return any(spiffe_id.matches(pattern, identity) for pattern in patterns)


def _chosen(identity: SpiffeId, dns_names: Sequence[str]) -> list[str]:
    return [name for name in dns_names if name != identity.dns_name]


def _dns_covered(pattern: str, name: str) -> bool:
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern.removeprefix("*.")
    return name == pattern


def _refusal(message: str, identity: SpiffeId) -> IdentityNotAllowed:
    return IdentityNotAllowed(message, metadata={"identity": str(identity)})
