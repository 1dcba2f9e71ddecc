"""The first contact with a kernel, of which nothing is known but the fingerprint of its root."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
import time
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from OpenSSL import SSL
from sira_client.addresses import split

from sira_grpc.agent.failures import KernelNotTrusted, KernelUnreachable
from sira_grpc.svid import x509_svid
from sira_grpc.svid.join_secret import fingerprint
from sira_grpc.svid.spiffe_id import MEMBER
from sira_grpc.svid.x509_svid import SvidError, SvidExpired

_CHUNK = 16_384


@dataclass(frozen=True, slots=True)
class Root:
    """The root of a kernel that has proved to be the one that was meant.

    Attributes:
        pem: the certificate.
        trust_domain: of the kernel.
    """

    pem: bytes
    trust_domain: str


async def fetch_root(address: str, root_fingerprint: str, *, now: float, within: float) -> Root:
    """Fetches the root of the kernel at an address, and verifies that the kernel there belongs to it.

    Args:
        address: `host:port` where the kernel takes join tokens.
        root_fingerprint: SHA-256 of the root, hex, from the join secret.
        now: Unix seconds.
        within: seconds that the kernel has to answer.

    Raises:
        ValueError: the address is malformed.
        KernelUnreachable: nobody answers there, or not with TLS.
        KernelNotTrusted: who answers has another root, or does not prove to belong to it.
    """
    host, port = split(address)
    try:
        chain = await asyncio.to_thread(_fetch_chain, host, port, within)
    except (OSError, SSL.Error, ValueError) as error:
        raise KernelUnreachable(f"cannot connect to a kernel at {address}: {_explain(error)}") from error
    return check_chain(chain, root_fingerprint, now=now)


def check_chain(chain: list[x509.Certificate], root_fingerprint: str, *, now: float) -> Root:
    """Finds the root in what a server sent, and verifies the server's certificate with it.

    Args:
        chain: the server's certificate first.
        root_fingerprint: SHA-256 of the root, hex.
        now: Unix seconds.

    Raises:
        KernelNotTrusted: see fetch_root.
    """
    root = next((one for one in chain if hmac.compare_digest(fingerprint(one), root_fingerprint)), None)
    if root is None:
        raise KernelNotTrusted(
            "the kernel's root is not the one of the join token: it was rotated since, or this is not your kernel"
        )
    if not _is_root(root):
        raise KernelNotTrusted("the certificate that the join token names is no root certificate")
    try:
        identity = x509_svid.identity_of(chain[0])
        x509_svid.verify(chain[0], chain[1:], {identity.trust_domain: [root]}, now=now)
    except SvidExpired as error:
        raise KernelNotTrusted(f"the kernel cannot be verified: {error}; is this machine's clock right?") from error
    except SvidError as error:
        raise KernelNotTrusted(f"the kernel cannot be verified: {error}") from error
    if identity.kind != MEMBER:
        raise KernelNotTrusted(f"who answers is no kernel but {identity}")
    return Root(x509_svid.to_pem([root]), identity.trust_domain)


def _is_root(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False


def _fetch_chain(host: str, port: int, timeout: float) -> list[x509.Certificate]:
    """Shakes hands without verifying anything, and returns what the server showed. Blocks."""
    deadline = time.monotonic() + timeout
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_protos([b"h2"])
    connection = SSL.Connection(context, None)
    if not _is_ip(host):
        connection.set_tlsext_host_name(host.encode("idna"))
    connection.set_connect_state()
    with socket.create_connection((host, port), timeout) as plain:
        while not _shake(connection):
            plain.settimeout(_left(deadline))
            plain.sendall(_outgoing(connection))
            data = plain.recv(_CHUNK)
            if not data:
                raise ConnectionError("it hung up; is it the address for join tokens?")
            connection.bio_write(data)
    return connection.get_peer_cert_chain(as_cryptography=True) or []


def _shake(connection: SSL.Connection) -> bool:
    """Goes on with the handshake; returns whether it is done."""
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def _outgoing(connection: SSL.Connection) -> bytes:
    try:
        return connection.bio_read(_CHUNK)
    except SSL.WantReadError:
        return b""


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _explain(error: Exception) -> str:
    if isinstance(error, SSL.Error):
        return f"it does not speak TLS as a kernel does: {error}"
    return str(error) or type(error).__name__


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
