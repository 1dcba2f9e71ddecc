"""Calls that other members make: known by their signature, and taken for those of the callers that it names."""

from __future__ import annotations

from collections.abc import Collection

from sira_grpc.errors import CredentialInvalid
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.forwarding.peer_credentials import PeerIdentity
from sira_grpc.rpc.forwarding.signature import HEADER, Signer
from sira_grpc.rpc.interceptors.access import PEERS
from sira_grpc.rpc.interceptors.interceptor import Interceptor
from sira_grpc.svid.spiffe_id import MEMBER


class AcceptForwarded(Interceptor):
    """Sets `forwarded`, `identity` and `caller` of signed calls, which are then neither authenticated nor authorized.

    The member that signed has done both, with every message. `credential` stays None: that member ends the call when
    what its caller showed does not count any more.

    Args:
        signer: verifies signatures.
        methods: that are forwarded, `package.Service/Method`: a signature gets nobody anywhere else.
        identity: how members are known by their certificates, besides; None where they have none.
    """

    def __init__(self, signer: Signer, methods: Collection[str], identity: PeerIdentity | None) -> None:
        self._signer = signer
        self._methods = methods
        self._identity = identity

    def enter(self, call: Call) -> None:
        """Verifies the header, where there is one.

        Raises:
            CredentialInvalid: it does not count, or the connection is not a member's.
            CredentialExpired, CredentialRevoked: of the member's certificate.
        """
        headers = [value for key, value in call.context.invocation_metadata() or () if key == HEADER]
        if not headers:
            return
        header = headers[0]
        if len(headers) > 1 or not isinstance(header, bytes):
            raise CredentialInvalid(f"{HEADER}: must be there once", metadata={"header": HEADER})
        method = call.method
        if method.service != PEERS and method.name not in self._methods:
            raise CredentialInvalid(f"{HEADER}: {method.name} is not forwarded", metadata={"header": HEADER})
        made = self._signer.verify(method.name, header)
        if self._identity is not None:
            _check_member(call, self._identity)
        call.forwarded, call.identity, call.caller = made.member, made.identity, made.caller


def _check_member(call: Call, identity: PeerIdentity) -> None:
    """Makes sure that the connection of a call is one of a member of this trust domain."""
    connection = call.context.auth_context()
    certificate = next(iter(connection.get("x509_pem_cert", ())), b"")
    if certificate:
        chain = b"".join(connection.get("x509_pem_cert_chain", ()))
        peer = identity.verifier.by_certificate(certificate, chain).identity
        if peer.kind == MEMBER and peer.trust_domain == identity.trust_domain:
            return
    raise CredentialInvalid(f"{HEADER}: needs the certificate of a member", metadata={"header": HEADER})
