"""A TLS handshake by hand: what a server shows, who vouches for it, and whether it takes what we show."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sira_grpc.cli.credentials import Credentials
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from cryptography import x509
    from OpenSSL import SSL

_CHUNK = 16_384
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""What begins HTTP/2, with empty settings: a server that takes our certificate answers with its own."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server showed.

    Attributes:
        address: where.
        version, cipher: of the connection.
        chain: the server's certificate first.
        identity: the SPIFFE ID in it; empty where it has none.
        doubt: why it is not verified; empty if it is.
        refusal: why the server did not go on with us; empty if it did.
        us: the SPIFFE ID of the certificate that was shown to it, or what else was shown.
    """

    address: str
    version: str
    cipher: str
    chain: tuple[x509.Certificate, ...]
    identity: str
    doubt: str
    refusal: str
    us: str

    @property
    def leaf(self) -> x509.Certificate:
        """The server's own certificate."""
        return self.chain[0]

    @property
    def expires(self) -> float:
        """When that expires, in Unix seconds."""
        return self.leaf.not_valid_after_utc.timestamp()

    @property
    def names(self) -> list[str]:
        """DNS names and IP addresses in it."""
        from cryptography import x509

        try:
            names = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            return []
        return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def shake_hands(address: str, ours: Credentials, *, within: float) -> Shown:
    """Connects, shakes hands, and begins HTTP/2, as a certificate is refused only after the handshake of TLS 1.3.

    Args:
        address: `host:port`.
        ours: what is shown, and verified with.
        within: seconds that the server has.

    Raises:
        Failure: nobody answers there, or not with TLS.
    """
    from OpenSSL import SSL
    from sira_client.addresses import split

    try:
        host, port = split(address)
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from error
    connection = _connection(host, ours)
    try:
        with socket.create_connection((host, port), within) as plain:
            _Wire(connection, plain, time.monotonic() + within).handshake()
            chain = tuple(connection.get_peer_cert_chain(as_cryptography=True) or ())
            if not chain:
                raise Failure(f"{address} showed no certificate", ExitCode.UNAVAILABLE)
            refusal = _Wire(connection, plain, time.monotonic() + within).refusal()
    except (OSError, SSL.Error) as error:
        raise Failure(f"cannot shake hands with {address}: {_explain(error)}", ExitCode.UNAVAILABLE) from error
    identity, doubt = _judge(chain, host, ours)
    version, cipher = connection.get_protocol_version_name(), connection.get_cipher_name() or ""
    us = ours.identity or ("a certificate" if ours.chain else "nobody")
    return Shown(address, version, cipher, chain, identity, doubt, refusal, us)


class _Wire:
    """A connection of OpenSSL's over a socket, with a deadline on the monotonic clock."""

    def __init__(self, connection: SSL.Connection, plain: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._plain = plain
        self._deadline = deadline

    def handshake(self) -> None:
        """Shakes hands. Raises: OSError, SSL.Error."""
        self._until_done(self._connection.do_handshake)

    def refusal(self) -> str:
        """Begins HTTP/2. Returns why the server did not go on; empty if it did."""
        from OpenSSL import SSL

        try:
            self._connection.send(_PREFACE)
            self._until_done(lambda: self._connection.recv(_CHUNK))
        except (SSL.ZeroReturnError, ConnectionError):
            return "it hung up, as servers do that want a certificate" if not self._shown else "it hung up"
        except SSL.Error as error:
            return _explain(error)
        except TimeoutError:
            return "it did not go on in time"
        return ""

    @property
    def _shown(self) -> bool:
        return self._connection.get_certificate() is not None

    def _until_done(self, step: Any) -> None:
        from OpenSSL import SSL

        while True:
            try:
                step()
            except SSL.WantReadError:
                pass
            else:
                self._send()
                return
            self._send()
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._plain.settimeout(left)
            data = self._plain.recv(_CHUNK)
            if not data:
                raise ConnectionResetError("it hung up")
            self._connection.bio_write(data)

    def _send(self) -> None:
        from OpenSSL import SSL

        try:
            while True:
                self._plain.sendall(self._connection.bio_read(_CHUNK))
        except SSL.WantReadError:
            return


def _connection(host: str, ours: Credentials) -> SSL.Connection:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_protos([b"h2"])
    if ours.chain and ours.key:
        try:
            leaf, *rest = x509.load_pem_x509_certificates(ours.chain)
            context.use_certificate(leaf)
            for each in rest:
                context.add_extra_chain_cert(each)
            context.use_privatekey(load_pem_private_key(ours.key, None))  # type: ignore[arg-type]  # of a kind that it takes
            context.check_privatekey()
        except (ValueError, TypeError, SSL.Error) as error:
            raise Failure(f"the own certificate or key cannot be used: {_explain(error)}", ExitCode.USAGE) from error
    connection = SSL.Connection(context, None)
    if not _is_ip(host):
        connection.set_tlsext_host_name(host.encode("idna"))
    connection.set_connect_state()
    return connection


def _judge(chain: Sequence[x509.Certificate], host: str, ours: Credentials) -> tuple[str, str]:
    """The SPIFFE ID that a server shows, and why it is not to be believed; either may be empty."""
    from sira_grpc.svid import x509_svid

    try:
        identity = x509_svid.identity_of(chain[0])
    except ValueError:
        return "", _judge_name(chain, host, ours)
    own = ours.identity.split("/")[2] if ours.identity else identity.trust_domain
    if own != identity.trust_domain:
        return str(identity), f"it is of the trust domain {identity.trust_domain}, not of {own}"
    if ours.roots is None:
        return str(identity), "nothing to verify it with: name an identity directory, or a ca_file"
    try:
        roots = {identity.trust_domain: x509_svid.read_pem(ours.roots)}
        x509_svid.verify(chain[0], chain[1:], roots, now=time.time())
    except ValueError as error:
        return str(identity), str(error)
    return str(identity), ""


def _judge_name(chain: Sequence[x509.Certificate], host: str, ours: Credentials) -> str:
    """Why a certificate without a SPIFFE ID is not to be believed for a host; empty if it is."""
    from cryptography import x509
    from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

    roots = _system_roots() if ours.roots is None else x509.load_pem_x509_certificates(ours.roots)
    if not roots:
        return "nothing to verify it with"
    subject = x509.IPAddress(ipaddress.ip_address(host)) if _is_ip(host) else x509.DNSName(host)
    now = datetime.datetime.now(datetime.UTC)
    try:
        PolicyBuilder().store(Store(roots)).time(now).build_server_verifier(subject).verify(chain[0], list(chain[1:]))
    except VerificationError as error:
        return f"no root vouches for it as {host}: {error}"
    return ""


def _system_roots() -> list[x509.Certificate]:
    import ssl
    import warnings

    from cryptography import x509

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of those that the world trusts are not by the letter
        found = ssl.create_default_context().get_ca_certs(binary_form=True)
        return [x509.load_der_x509_certificate(der) for der in found]


def _explain(error: Exception) -> str:
    reasons = [str(reason) for *_, reason in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(reasons) or str(error) or type(error).__name__


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
