"""Handshakes with servers of several kinds."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from sira_grpc.cli.credentials import Credentials
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.handshake import Shown, shake_hands
from sira_grpc.svid import x509_svid
from tests.unit.svid.authority import Authority, Issued

MEMBER = "spiffe://a.test/member/one"
ROOT = Authority(now=time.time())
ROOTS = x509_svid.to_pem([ROOT.certificate])
Serve = Callable[[socket.socket], object]


@contextmanager
def serving(serve: Serve) -> Iterator[str]:
    """Serves one connection on a thread; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def tls(folder: Path, issued: Issued, *, clients: bytes | None = None, settings: bool = True) -> Serve:
    """Speaks TLS 1.3, and answers what comes with as much as there must be of HTTP/2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "pair.pem").write_bytes(x509_svid.to_pem([issued.certificate]) + issued.key_pem)
    context.load_cert_chain(folder / "pair.pem")
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.decode())

    def serve(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(100)
                if settings:
                    secured.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        except ssl.SSLError:
            pass  # the client was told

    return serve


def shaken(serve: Serve, ours: Credentials) -> Shown:
    with serving(serve) as address:
        return shake_hands(address, ours, within=10)


def us(authority: Authority = ROOT) -> Credentials:
    issued = authority.issue("spiffe://a.test/operator/me")
    return Credentials(ROOTS, x509_svid.to_pem([issued.certificate]), issued.key_pem, "spiffe://a.test/operator/me")


def test_a_kernel_is_verified_by_the_bundle_whatever_its_address(tmp_path: Path) -> None:
    shown = shaken(tls(tmp_path, ROOT.issue(MEMBER)), Credentials(ROOTS))
    assert (shown.identity, shown.version, shown.doubt, shown.refusal) == (MEMBER, "TLSv1.3", "", "")
    assert shown.us == "nobody"


def test_one_that_wants_certificates_takes_ours(tmp_path: Path) -> None:
    shown = shaken(tls(tmp_path, ROOT.issue(MEMBER), clients=ROOTS), us())
    assert (shown.us, shown.doubt, shown.refusal) == ("spiffe://a.test/operator/me", "", "")


@pytest.mark.parametrize("ours", [Credentials(ROOTS), us(Authority("stranger", now=time.time()))])
def test_one_that_wants_other_certificates_says_so(tmp_path: Path, ours: Credentials) -> None:
    shown = shaken(tls(tmp_path, ROOT.issue(MEMBER), clients=ROOTS), ours)
    assert shown.doubt == ""
    assert shown.refusal


@pytest.mark.parametrize(
    ("identity", "roots", "doubt"),
    [
        (MEMBER, None, "nothing to verify it with"),
        (MEMBER, x509_svid.to_pem([Authority().certificate]), "no root of a.test vouches for"),
        ("spiffe://b.test/member/one", ROOTS, "it is of the trust domain b.test, not of a.test"),
    ],
)
def test_one_that_cannot_be_verified(tmp_path: Path, identity: str, roots: bytes | None, doubt: str) -> None:
    ours = Credentials(roots, identity="spiffe://a.test/operator/me" if identity != MEMBER else "")
    shown = shaken(tls(tmp_path, ROOT.issue(identity)), ours)
    assert shown.identity == identity
    assert shown.doubt.startswith(doubt)


def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    shown = shaken(tls(tmp_path, ROOT.issue(MEMBER, start=-600, end=-60)), Credentials(ROOTS))
    assert "expired" in shown.doubt


def test_a_certificate_without_a_spiffe_id_is_verified_by_its_name(tmp_path: Path) -> None:
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    key = ROOT.issue().key
    named = ROOT.sign(key.public_key(), names=[address, x509.DNSName("localhost")])
    shown = shaken(tls(tmp_path, Issued(named, key)), Credentials(ROOTS))
    assert (shown.identity, shown.doubt, shown.names) == ("", "", ["localhost", "127.0.0.1"])
    other = ROOT.sign(key.public_key(), names=[x509.DNSName("elsewhere.test")])
    shown = shaken(tls(tmp_path, Issued(other, key)), Credentials(ROOTS))
    assert shown.doubt.startswith("no root vouches for it as 127.0.0.1")
    by_the_system = shaken(tls(tmp_path, Issued(named, key)), Credentials())
    assert by_the_system.doubt


def test_nobody_there_and_no_tls_there() -> None:
    with pytest.raises(Failure, match=r"cannot shake hands with 127\.0\.0\.1:1: .*refused") as nobody:
        shake_hands("127.0.0.1:1", Credentials(), within=10)
    assert nobody.value.code is ExitCode.UNAVAILABLE
    with serving(lambda connection: connection.sendall(b"220 hello\r\n")) as address, pytest.raises(Failure) as plain:
        shake_hands(address, Credentials(), within=10)
    assert str(plain.value).endswith("wrong version number")
    with (
        serving(lambda connection: connection.recv(4096)) as address,
        pytest.raises(Failure, match="it hung up"),
    ):
        shake_hands(address, Credentials(), within=10)
    with pytest.raises(Failure, match="address: 'x' must be host:port") as malformed:
        shake_hands("x", Credentials(), within=10)
    assert malformed.value.code is ExitCode.USAGE


def test_silence_has_an_end() -> None:
    done = threading.Event()
    with serving(lambda connection: done.wait(30)) as address:
        with pytest.raises(Failure, match="timed out"):
            shake_hands(address, Credentials(), within=0.1)
        done.set()


def test_a_certificate_of_ours_that_cannot_be_used_is_no_fault_of_the_server() -> None:
    with pytest.raises(Failure, match="the own certificate or key cannot be used") as refused:
        shake_hands("127.0.0.1:1", Credentials(ROOTS, ROOTS, us().key), within=10)
    assert refused.value.code is ExitCode.USAGE
