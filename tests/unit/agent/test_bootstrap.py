"""The first contact with a kernel: with a real server, and with everything that is none."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from sira_grpc.agent.bootstrap import check_chain, fetch_root
from sira_grpc.agent.failures import KernelNotTrusted, KernelUnreachable
from sira_grpc.svid import x509_svid
from sira_grpc.svid.join_secret import fingerprint
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.unit.agent.authority_double import AuthorityDouble
from tests.unit.agent.kernel_double import DOMAIN, KernelDouble

NOBODY = "0" * 64


async def test_the_root_is_fetched_and_verified(kernel: KernelDouble) -> None:
    root = await fetch_root(kernel.token_door, fingerprint(kernel.authorities[0].root), now=time.time(), within=10)
    assert root.trust_domain == DOMAIN
    assert x509_svid.read_pem(root.pem) == [kernel.authorities[0].root]


async def test_a_name_is_as_good_as_an_address(kernel: KernelDouble) -> None:
    address = kernel.token_door.replace("127.0.0.1", "localhost")
    assert await fetch_root(address, fingerprint(kernel.authorities[0].root), now=time.time(), within=10)


async def test_another_root_is_not_taken(kernel: KernelDouble) -> None:
    with pytest.raises(KernelNotTrusted, match="it was rotated since, or this is not your kernel"):
        await fetch_root(kernel.token_door, NOBODY, now=time.time(), within=10)


async def test_the_door_for_certificates_shows_its_root_too(kernel: KernelDouble) -> None:
    """The server asks for a certificate only after it has shown its own."""
    assert await fetch_root(kernel.door, fingerprint(kernel.authorities[0].root), now=time.time(), within=10)


async def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(KernelUnreachable, match=f"cannot connect to a kernel at {address}: .*refused"):
            await fetch_root(address, NOBODY, now=time.time(), within=10)


async def test_a_name_that_leads_nowhere() -> None:
    with pytest.raises(KernelUnreachable, match="cannot connect to a kernel at nowhere"):
        await fetch_root("nowhere.invalid:7401", NOBODY, now=time.time(), within=10)


async def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        await fetch_root("sira.example.org", NOBODY, now=time.time(), within=10)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "hung up"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"),
        (bytes(4096), "does not speak TLS"),
    ],
)
async def test_who_does_not_speak_tls(answer: bytes, said: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(KernelUnreachable, match=said):
            await fetch_root(address, NOBODY, now=time.time(), within=10)


async def test_who_says_nothing_is_not_waited_for() -> None:
    over = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(KernelUnreachable, match="timed out"):
            await fetch_root(address, NOBODY, now=time.time(), within=0.2)
        over.set()


def chain(
    authority: AuthorityDouble, identity: str = "member/one", *, below: AuthorityDouble | None = None
) -> list[x509.Certificate]:
    """What a server shows that says it is below a root."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    spiffe_id = SpiffeId.parse(f"spiffe://{authority.trust_domain}/{identity}")
    leaf = authority.leaf(spiffe_id, [], key, now=time.time(), ttl=3600)
    return [leaf, authority.intermediate, (below or authority).root]


def test_a_server_that_does_not_belong_to_the_root_is_refused() -> None:
    """A root is no secret: anybody may show it."""
    real, false = AuthorityDouble(DOMAIN), AuthorityDouble(DOMAIN)
    with pytest.raises(KernelNotTrusted, match=r"no root of example\.test vouches"):
        check_chain(chain(false, below=real), fingerprint(real.root), now=time.time())


def test_a_server_that_is_no_kernel_is_refused() -> None:
    authority = AuthorityDouble(DOMAIN)
    with pytest.raises(KernelNotTrusted, match=r"no kernel but spiffe://example\.test/ns/default/svc/checkout"):
        check_chain(chain(authority, "ns/default/svc/checkout"), fingerprint(authority.root), now=time.time())


def test_a_certificate_that_is_no_root_is_refused() -> None:
    authority = AuthorityDouble(DOMAIN)
    for certificate in chain(authority)[:2]:
        with pytest.raises(KernelNotTrusted, match="is no root certificate"):
            check_chain([certificate], fingerprint(certificate), now=time.time())


@pytest.mark.parametrize(("off", "said"), [(-400, "is valid only in"), (4000, "expired")])
def test_a_clock_that_is_wrong_is_named(off: float, said: str) -> None:
    authority = AuthorityDouble(DOMAIN)
    with pytest.raises(KernelNotTrusted, match=f"{said} .*; is this machine's clock right"):
        check_chain(chain(authority), fingerprint(authority.root), now=time.time() + off)


def test_nothing_at_all() -> None:
    with pytest.raises(KernelNotTrusted):
        check_chain([], NOBODY, now=time.time())
