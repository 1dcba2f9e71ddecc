from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest
from cryptography import x509
from sira.errors.v1.error_reason_pb2 import ErrorReason

from sira_grpc.bundle_endpoint import BundleFetcher
from sira_grpc.errors import BundleUnavailable
from sira_grpc.svid import bundle_document
from sira_grpc.svid.x509_svid import to_pem
from tests.clocks import NANOS, FakeClock
from tests.unit.bundle_endpoint.endpoints import (
    INTERMEDIATE,
    KERNEL,
    OTHER,
    ROOT,
    Served,
    answering,
    bundle_server,
    document,
    hostile_server,
    pems,
    svid,
    web_certificate,
)
from tests.unit.bundle_endpoint.fetching import GOOD, ROOTS, fetch_spiffe, fetch_web
from tests.unit.svid.authority import LIFETIME, Authority


async def test_https_spiffe() -> None:
    async with bundle_server() as address:
        fetched = await fetch_spiffe(address)
    assert fetched == document()
    assert bundle_document.read("a.test", fetched).sequence == 7


async def test_https_web(web: BundleFetcher) -> None:
    served = Served(certificate=web_certificate())
    async with bundle_server(served) as address:
        for host in ("localhost", "127.0.0.1"):
            url = f"https://{host}:{address.rpartition(':')[2]}"
            assert await web.fetch(url, roots=None, identity="") == document()
            assert await web.fetch(f"{url}/?x=1", roots=None, identity=KERNEL) == document()


async def test_a_server_whose_certificate_and_document_change() -> None:
    served = Served()
    async with bundle_server(served) as address:
        assert await fetch_spiffe(address) == served.document
        served.document, served.certificate = document(8), svid()
        assert await fetch_spiffe(address) == served.document
        served.certificate = pems(OTHER.issue(KERNEL))
        with pytest.raises(BundleUnavailable):
            await fetch_spiffe(address)
        assert await fetch_spiffe(address, roots=(OTHER.certificate,)) == served.document


async def test_many_at_once(web: BundleFetcher) -> None:
    async with bundle_server(max_connections=4) as address:
        assert await asyncio.gather(*(fetch_spiffe(address) for _ in range(20))) == [document()] * 20


async def test_any_root_will_do_and_an_intermediate_too() -> None:
    async with bundle_server() as address:
        assert await fetch_spiffe(address, roots=(OTHER.certificate, ROOT.certificate)) == document()
        assert await fetch_spiffe(address, roots=(INTERMEDIATE.certificate,)) == document()


async def test_what_an_error_says() -> None:
    async with bundle_server() as address:
        with pytest.raises(BundleUnavailable) as caught:
            await fetch_spiffe(address, identity="spiffe://a.test/member/m2")
    assert caught.value.reason == ErrorReason.ERROR_REASON_BUNDLE_UNAVAILABLE
    assert caught.value.metadata == {"url": f"https://{address}/"}
    assert caught.value.message == (
        f"https://{address}/ did not answer with a bundle: its certificate is not trusted: "
        f"it is of {KERNEL}, not of spiffe://a.test/member/m2"
    )


@pytest.mark.parametrize(
    "identity",
    ["spiffe://a.test/member/m2", "spiffe://a.test/member", "spiffe://a.test", "spiffe://b.test/member/m1"],
)
async def test_another_identity(identity: str) -> None:
    async with bundle_server() as address:
        with pytest.raises(BundleUnavailable, match=f"it is of {KERNEL}, not of {identity}$"):
            await fetch_spiffe(address, identity=identity)


@pytest.mark.parametrize("identity", ["", "a.test", "https://a.test/member/m1", "spiffe://a.test/member/*"])
async def test_an_identity_that_is_none(identity: str) -> None:
    async with bundle_server() as address:
        with pytest.raises(BundleUnavailable, match=r"does not begin with spiffe://|not of A-Z"):
            await fetch_spiffe(address, identity=identity)


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (pems(OTHER.issue(KERNEL)), "certificate is not trusted: "),
        (pems(OTHER.issue(KERNEL), OTHER), "certificate is not trusted: "),
        (pems(INTERMEDIATE.issue(KERNEL)), "certificate is not trusted: unable to get local issuer"),
        (pems(ROOT.issue(KERNEL, start=-20, end=-10)), "certificate is not trusted: certificate has expired"),
        (pems(ROOT.issue(KERNEL, start=LIFETIME / 2)), "certificate is not trusted: certificate is not yet valid"),
        (pems(ROOT.issue(KERNEL, "spiffe://a.test/x")), "must have one URI name, its SPIFFE ID, and has 2"),
        (web_certificate(), "must have one URI name, its SPIFFE ID, and has 0"),
        (pems(ROOT.issue(KERNEL, ca=True)), "is an authority's, not a leaf"),
        (pems(ROOT.issue(KERNEL, uses=("digital_signature", "key_cert_sign"))), "and not to sign certificates"),
        (pems((lone := Authority(now=time.time())).issue(KERNEL, key=lone.key)), "certificate is not trusted: "),
    ],
)
async def test_a_certificate_that_does_not_count(certificate: tuple[bytes, bytes], why: str) -> None:
    requests: list[bytes] = []
    async with hostile_server(answering(GOOD, requests=requests), certificate) as port:
        with pytest.raises(BundleUnavailable, match=why):
            await fetch_spiffe(port)
    assert requests == []  # it was told nothing


async def test_a_root_vouches_for_its_own_trust_domain_only() -> None:
    """An authority of another trust domain has issued what it must not."""
    async with bundle_server(Served(certificate=pems(OTHER.issue(KERNEL)))) as address:
        with pytest.raises(BundleUnavailable, match="certificate is not trusted"):
            await fetch_spiffe(address)


async def test_no_roots_are_not_those_of_the_web() -> None:
    async with bundle_server() as address:
        with pytest.raises(BundleUnavailable, match=r"no root certificate of a\.test is known"):
            await fetch_spiffe(address, roots=())


@pytest.mark.parametrize(("later", "why"), [(2 * LIFETIME, "expired .* s ago"), (-LIFETIME, "is valid only in")])
async def test_it_must_be_valid_by_the_clock_that_was_given(later: float, why: str) -> None:
    fetcher = BundleFetcher(clock=FakeClock(time_ns=round((time.time() + later) * NANOS)))
    async with bundle_server() as address:
        with pytest.raises(BundleUnavailable, match=why):
            await fetcher.fetch(f"https://{address}/", roots=ROOTS, identity=KERNEL)


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (web_certificate(OTHER), "certificate is not trusted: "),
        (web_certificate(ROOT, x509.DNSName("other.test")), "certificate is not trusted: Hostname mismatch"),
        (svid(), "certificate is not trusted: Hostname mismatch"),
    ],
)
async def test_a_web_certificate_that_does_not_count(
    web: BundleFetcher, certificate: tuple[bytes, bytes], why: str
) -> None:
    requests: list[bytes] = []
    async with hostile_server(answering(GOOD, requests=requests), certificate) as port:
        with pytest.raises(BundleUnavailable, match=why):
            await fetch_web(web, port)
    assert requests == []


async def test_the_authorities_of_the_system_are_others() -> None:
    async with hostile_server(answering(GOOD)) as port:
        with pytest.raises(BundleUnavailable, match="certificate is not trusted"):
            await fetch_web(BundleFetcher(), port)


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
async def test_a_file_of_authorities_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_bytes(content)
    async with hostile_server(answering(GOOD)) as port:
        with pytest.raises(BundleUnavailable, match=f"the file of authorities {path} cannot be used"):
            await fetch_web(BundleFetcher(ca_file=path), port)


async def test_a_file_of_authorities_may_change(web: BundleFetcher, tmp_path: Path) -> None:
    async with hostile_server(answering(GOOD), web_certificate(OTHER)) as port:
        with pytest.raises(BundleUnavailable):
            await fetch_web(web, port)
        (tmp_path / "authorities.pem").write_bytes(to_pem([OTHER.certificate]))
        assert await fetch_web(web, port) == document()


async def test_no_proxy_of_the_environment(web: BundleFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        async with hostile_server(answering(GOOD)) as port:
            assert await fetch_web(web, port) == document()
        with pytest.raises(BlockingIOError):
            proxy.accept()


async def test_a_fetch_that_is_cancelled_leaves_nothing_open() -> None:
    asked = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with hostile_server(wait, svid()) as port:
        before = len(os.listdir("/proc/self/fd"))
        task = asyncio.create_task(fetch_spiffe(port))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(os.listdir("/proc/self/fd")) <= before
