"""Entitlement: which identities a caller, or the bearer of a join token, may have issued."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sira.identity.v1.certificate_pb2 import Certificate
from sira.identity.v1.join_token_pb2 import JoinToken

from sira_grpc.errors import IdentityNotAllowed, Unauthenticated
from sira_grpc.identity.callers import Caller
from sira_grpc.identity.view import IdentityView
from sira_grpc.svid import spiffe_id
from sira_grpc.svid.spiffe_id import SpiffeId


class Entitlement:
    """The rules of issuing, in one place.

    | who asks | may have issued | with DNS names |
    |---|---|---|
    | the bearer of a join token | what its `identities` cover | that its `dns_names` cover |
    | an operator | any identity of the trust domain | any |
    | a node | its own; what its join token `delegated` | that its join token's `dns_names` cover |
    | every other identity | its own | that its certificate has, or its join token's `dns_names` cover |

    The DNS name that comes with an identity is always allowed; those that come with others are allowed to nobody else.
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
        self._check_names("the join token", identity, dns_names, token.dns_names)

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
            self._check_names(caller.name, identity, dns_names, None)
            return
        stored = self._view.certificates.get(caller.serial)
        held = stored.value if stored is not None else Certificate()
        if identity == caller.identity:
            self._check_names(caller.name, identity, dns_names, [*held.dns_names, *held.allowed_dns_names])
        elif caller.identity.kind != spiffe_id.NODE:
            raise _refusal(f"{caller.name} may have certificates issued for itself only", identity)
        elif not _covered(held.delegated, identity):
            raise _refusal(f"{identity} is not delegated to {caller.name}", identity)
        else:
            self._check_names(caller.name, identity, dns_names, held.allowed_dns_names)

    def _check_names(
        self, who: str, identity: SpiffeId, dns_names: Sequence[str], allowed: Iterable[str] | None
    ) -> None:
        """Refuses DNS names that are somebody else's, or not allowed. None allows all others."""
        for name in dns_names:
            if name == identity.dns_name:
                continue
            if _comes_with_identities(name, self._trust_domain):
                raise _refusal(f"the DNS name {name} belongs to another identity than {identity}", identity)
            if allowed is not None and not any(_dns_covered(pattern, name) for pattern in allowed):
                raise _refusal(f"{who} is not good for the DNS name {name}", identity)


def _covered(patterns: Iterable[str], identity: SpiffeId) -> bool:
    return any(spiffe_id.matches(pattern, identity) for pattern in patterns)


def _comes_with_identities(name: str, trust_domain: str) -> bool:
    """Whether a DNS name is, or covers, `{svc}.{ns}.{trust domain}` of a service or `kernel.{trust domain}`."""
    if not name.endswith(f".{trust_domain}"):
        return False
    labels = name.removesuffix(f".{trust_domain}").split(".")
    return len(labels) == 2 or labels in (["*"], [spiffe_id.KERNEL])


def _dns_covered(pattern: str, name: str) -> bool:
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern.removeprefix("*.")
    return name == pattern


def _refusal(message: str, identity: SpiffeId) -> IdentityNotAllowed:
    return IdentityNotAllowed(message, metadata={"identity": str(identity)})
