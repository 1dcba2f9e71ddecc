"""Who makes a call: the verified identity of the client certificate, and the host where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.interceptor import Interceptor


class Authenticate(Interceptor):
    """Sets `identity` and `caller`.

    Args:
        certificates: the server requires and verifies client certificates; without that no identity is trusted.
    """

    def __init__(self, *, certificates: bool) -> None:
        self._certificates = certificates

    def enter(self, call: Call) -> None:
        """Looks at the connection of the call."""
        if self._certificates:
            call.identity = identity_of(call.context.auth_context())
        call.caller = call.identity or host_of(call.context.peer())


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
