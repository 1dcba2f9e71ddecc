"""Who makes a call: the verified identity of its certificate or token, and the host where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sira_grpc.errors import CredentialInvalid
from sira_grpc.identity.callers import Caller, CallerVerifier
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.interceptor import Interceptor

AUTHORIZATION = "authorization"
BEARER = "bearer "
STAYS = "envoy.service."
"""Beginning of the services whose clients stay on a connection: those of xDS in gRPC and Envoy go on with the
certificate that they opened it with, and would try again on it for ever. It ages: see rpc.options."""


class Authenticate(Interceptor):
    """Sets `identity` and `caller`, from client certificates that an authority of the configuration vouches for.

    Args:
        certificates: the server requires and verifies client certificates; without that no identity is trusted.
    """

    def __init__(self, *, certificates: bool) -> None:
        self._certificates = certificates

    def enter(self, call: Call) -> None:
        """Looks at the connection of the call, unless it was forwarded: then it is a member's."""
        if call.forwarded:
            return
        if self._certificates:
            call.identity = identity_of(call.context.auth_context())
        call.caller = call.identity or host_of(call.context.peer())


class AuthenticateSvids(Interceptor):
    """Sets `credential`, `identity` and `caller`, from SVIDs: the certificate of the connection, or a bearer token.

    What is shown and does not count is refused, also where a call may be made without any: who shows the wrong thing
    should learn of it.

    Args:
        verifier: knows what counts.
    """

    def __init__(self, verifier: CallerVerifier) -> None:
        self._verifier = verifier

    def enter(self, call: Call) -> None:
        """Verifies what the caller shows, unless the call was forwarded: then it shows a member's certificate.

        Raises:
            CredentialInvalid, CredentialExpired, CredentialRevoked.
        """
        if call.forwarded:
            return
        # For limits and the log, should what it shows not count.
        call.caller = host_of(call.context.peer())
        caller = self.identify(call)
        if caller is not None:
            call.credential = caller
            call.identity = call.caller = caller.name

    def identify(self, call: Call) -> Caller | None:
        """Verifies what the caller of a call shows, as of now; None if it shows nothing."""
        connection = call.context.auth_context()
        certificate = next(iter(connection.get("x509_pem_cert", ())), b"")
        if certificate:
            stays = call.method.service.startswith(STAYS)
            verify = self._verifier.by_connection if stays else self._verifier.by_certificate
            return verify(certificate, b"".join(connection.get("x509_pem_cert_chain", ())))
        token = bearer_of(call.context.invocation_metadata() or ())
        return self._verifier.by_token(token) if token else None


def bearer_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Returns the bearer token in the metadata of a call; empty if there is none.

    Raises:
        CredentialInvalid: there is more than one, or something else that is meant to authorize.
    """
    values = [value for key, value in metadata if key == AUTHORIZATION]
    if not values:
        return ""
    value = values[0]
    token = value[len(BEARER) :].strip() if isinstance(value, str) and value.lower().startswith(BEARER) else ""
    if len(values) > 1 or not token:
        raise CredentialInvalid("authorization: must be one `Bearer` with a JWT-SVID")
    return token


def identity_of(auth_context: Mapping[str, Iterable[bytes]]) -> str:
    """Returns the identity in a verified client certificate; empty if there is none.

    The SPIFFE ID where the certificate has one, else `dns:` and its first DNS name, else `cn:` and its common name:
    the prefixes keep a name of one kind from passing for another.
    """
    if next(iter(auth_context.get("transport_security_type", ())), b"") != b"ssl":
        return ""
    for prefix, key in (("", "peer_spiffe_id"), ("dns:", "peer_dns"), ("cn:", "x509_common_name")):
        for value in auth_context.get(key, ()):
            return prefix + value.decode(errors="replace")
    return ""


def host_of(peer: str) -> str:
    """Returns the host of gRPC's form of a peer: `ipv4:10.0.0.1:5000`, `ipv6:%5B::1%5D:5000` or `unix:path`."""
    kind, _, address = peer.partition(":")
    if kind == "ipv4":
        return address.partition(":")[0]
    if kind == "ipv6":
        return address.rpartition(":")[0].removeprefix("%5B").removesuffix("%5D")
    return kind
