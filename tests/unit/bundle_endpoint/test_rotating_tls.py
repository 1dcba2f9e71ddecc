from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from sira_grpc.bundle_endpoint import BundleServer
from sira_grpc.bundle_endpoint.rotating_tls import RotatingTls
from sira_grpc.svid.x509_svid import read_pem, to_der
from tests.unit.bundle_endpoint.endpoints import (
    INTERMEDIATE,
    KERNEL,
    Served,
    ask,
    bundle_server,
    connection,
    document,
    svid,
    trusting,
)

REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def shown(address: str, tls: ssl.SSLContext | None = None) -> bytes:
    """The certificate that a server shows, PEM."""
    async with connection(address, tls) as (_, writer):
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return ssl.DER_cert_to_PEM_cert(found).encode()


async def test_each_connection_is_shown_the_certificate_of_its_time() -> None:
    served = Served()
    async with bundle_server(served) as address:
        for _ in range(3):
            before = served.certificate[0]
            assert before.startswith(await shown(address))
            async with connection(address) as (reader, writer):
                served.certificate = svid()
                assert served.certificate[0].startswith(await shown(address))
                # Who was connected still is.
                writer.write(REQUEST)
                assert (await reader.read()).endswith(document())
            assert not before.startswith(await shown(address))


async def test_the_intermediates_are_shown_too() -> None:
    served = Served()
    async with bundle_server(served) as address:
        assert (await ask(address)).status == 200  # which the client, who knows the root only, had to trust
        served.certificate = (to_pem_without_intermediate(served.certificate[0]), served.certificate[1])
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            await ask(address)


def to_pem_without_intermediate(chain: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(to_der(read_pem(chain)[0])).encode()


async def test_a_server_name_does_not_matter() -> None:
    async with bundle_server(served := Served()) as address:
        _, _, port = address.rpartition(":")
        _, writer = await asyncio.open_connection("127.0.0.1", int(port), ssl=trusting(), server_hostname="any.test")
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert served.certificate[0].startswith(ssl.DER_cert_to_PEM_cert(found).encode())
        writer.transport.abort()


async def test_a_session_is_not_resumed() -> None:
    """Who resumes one is shown no certificate."""
    tls = trusting()

    def connect(address: tuple[str, int], session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        with socket.create_connection(address) as plain, tls.wrap_socket(plain, session=session) as one:
            one.sendall(REQUEST)
            while one.recv(65_536):
                pass
            assert not one.session_reused
            return one.session

    async with bundle_server() as address:
        host, _, port = address.rpartition(":")
        session = await asyncio.to_thread(connect, (host, int(port)), None)
        await asyncio.to_thread(connect, (host, int(port)), session)
    assert session is None or not session.has_ticket


async def test_a_certificate_that_cannot_be_used_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    served = Served()
    good = served.certificate
    async with bundle_server(served) as address:
        for bad in ((b"", b""), (b"garbage", good[1]), (good[0], svid()[1])):
            served.certificate = bad
            assert good[0].startswith(await shown(address))
        served.certificate = svid()
        assert served.certificate[0].startswith(await shown(address))
    assert {record.message for record in caplog.records} == {
        "the bundle endpoint's new certificate cannot be used; the one before is shown"
    }
    assert len(caplog.records) == 3


def encrypted() -> tuple[bytes, bytes]:
    issued = INTERMEDIATE.issue(KERNEL)
    key = issued.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    return svid()[0], key


@pytest.mark.parametrize("bad", [(b"", b""), (b"garbage", svid()[1]), (svid()[0], svid()[1]), encrypted()])
async def test_a_server_does_not_start_without_a_certificate(bad: tuple[bytes, bytes]) -> None:
    """Nor does anybody type a passphrase for it."""
    server = BundleServer("127.0.0.1:0", document, lambda: bad)
    with pytest.raises(ssl.SSLError):
        await server.start()
    await server.stop()


def test_it_is_loaded_when_it_changes_only() -> None:
    served = Served()
    tls = RotatingTls(lambda: served.certificate)
    contexts = []
    for _ in range(2):
        tls.load()
        contexts.append(tls._current)
    assert contexts[0] is contexts[1]
    served.certificate = svid()
    tls.load()
    assert tls._current is not contexts[0]


def open_files() -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder itself
            found.append(os.readlink(descriptor))
    return sorted(found)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where OpenSSL was told that a key is. Temporary files are in tmp_path."""
    told: list[Path] = []
    load = ssl.SSLContext.load_cert_chain

    def watch(context: ssl.SSLContext, path: str, *, password: str) -> None:
        told.append(Path(path).resolve())
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in tmp_path.iterdir())
        load(context, path, password=password)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    return told


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has files that are nowhere")
def test_a_key_reaches_no_disk(tmp_path: Path, paths: list[Path]) -> None:
    before = open_files()
    RotatingTls(svid).load()
    assert [path.name for path in paths] == ["memfd:certificate (deleted)"]
    assert open_files() == before
    assert list(tmp_path.iterdir()) == []


def test_elsewhere_a_key_is_on_a_disk_for_a_moment(
    tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    RotatingTls(svid).load()
    assert [path.parent for path in paths] == [tmp_path]
    assert list(tmp_path.iterdir()) == []
