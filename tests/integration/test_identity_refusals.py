"""Everything that the kernel refuses to those who show it, or ask it for, the wrong thing: and that it says so."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from sira_grpc.svid import x509_svid
from tests.integration.identity_refusals import (
    ACCEPTED,
    DOMAIN,
    HANDSHAKE,
    HELLO,
    PATIENCE,
    SETTINGS,
    WEB,
    Row,
    World,
    held,
    running,
    status,
    table,
    told,
)
from tests.integration.identity_refused_callers import CERTIFICATES_REFUSED, TOKENS_REFUSED, leaf, signed
from tests.integration.identity_refused_requests import ISSUING_REFUSED, JOINING_REFUSED, REQUESTS_REFUSED, of_size
from tests.unit.svid.authority import Authority

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "identity.md"
ROWS = [*CERTIFICATES_REFUSED, *TOKENS_REFUSED, *JOINING_REFUSED, *REQUESTS_REFUSED, *ISSUING_REFUSED]
OPENSSL = shutil.which("openssl")
with_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as started:
        yield started


@pytest.mark.parametrize("row", ROWS, ids=[row.shown for row in ROWS])
async def test_it_is_refused_and_changes_nothing(world: World, row: Row) -> None:
    attempt = await row.arrange(world)
    before = world.revision
    assert await attempt() == row.gets
    assert world.revision == before


def test_the_document_says_what_is_refused_and_how() -> None:
    rows = {row.shown: row.gets for row in ROWS}
    assert len(rows) == len(ROWS)
    assert list(table(DOCUMENT, "What is refused").items()) == list(rows.items())


async def test_what_is_forged_without_a_fault_is_accepted(world: World) -> None:
    assert await world.status(leaf(world)) == ACCEPTED
    below = Authority("below", issuer=world.root, now=time.time())
    assert await world.status(held(below.issue(WEB), below.certificate)) == ACCEPTED


async def test_only_who_has_followed_comes_in_after_a_root_has_gone(world: World) -> None:
    old = await world.join(WEB)
    assert await world.status(old) == ACCEPTED
    await world.retire_root()
    assert await world.status(old) == HANDSHAKE
    assert await world.status(await world.join(WEB)) == ACCEPTED
    assert await world.status(world.operator) == ACCEPTED


@pytest.mark.parametrize("ahead", [0, 290])
async def test_a_token_is_accepted_from_a_clock_up_to_5_minutes_ahead(world: World, ahead: int) -> None:
    now = int(time.time()) + ahead
    token = signed(world, {"sub": WEB, "aud": [f"spiffe://{DOMAIN}"], "iat": now, "exp": now + 60})
    assert await told(status(world.channel(None), [("authorization", f"bearer {token}")])) == ACCEPTED


async def test_a_signing_request_of_8_kib_is_accepted(world: World) -> None:
    assert await told(world.issue(world.channel(world.operator), of_size(8192))) == ACCEPTED


async def test_a_stolen_join_token_shows_in_whose_certificate_is_listed(world: World) -> None:
    """The one use goes to one of many who try at once, and the others leave nothing behind."""
    secret = await world.secret(WEB)
    channels = [world.channel(None) for _ in range(5)]
    before = len(world.identity.view.by_identity.get(WEB, ()))
    answers = await asyncio.gather(*(told(world.issue(channel, of_size(1024), secret)) for channel in channels))
    assert sorted(answers) == sorted([ACCEPTED] + ["`UNAUTHENTICATED`, `JOIN_TOKEN_INVALID`"] * 4)
    assert len(world.identity.view.by_identity[WEB]) == before + 1


async def test_a_client_that_is_5_minutes_behind_accepts_a_fresh_certificate_of_the_kernel(world: World) -> None:
    host, _, port = world.kernel.token_addresses[0].rpartition(":")
    got = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), timeout=PATIENCE)
    certificate = x509.load_pem_x509_certificate(got.encode())
    intermediates = x509_svid.read_pem(world.identity.member.read().chain)[1:]
    builder = PolicyBuilder().store(Store(x509_svid.read_pem(world.bundle)))

    def verify(behind: float) -> None:
        moment = datetime.datetime.fromtimestamp(started - behind, datetime.UTC)
        verifier = builder.time(moment).build_server_verifier(x509.DNSName(f"kernel.{DOMAIN}"))
        verifier.verify(certificate, intermediates)

    record = world.identity.view.certificates[x509_svid.serial_of(certificate)].value
    started = record.issue_time.ToNanoseconds() / 1e9
    verify(299)
    with pytest.raises(VerificationError):
        verify(302)


def s_client(world: World, address: str, *options: str | Path, given: bytes) -> tuple[int, bytes]:
    """Runs `openssl s_client`. Returns its exit code and what it prints: with -quiet, what the kernel sends."""
    assert OPENSSL is not None
    roots = world.folder / "roots.pem"
    roots.write_bytes(world.bundle)
    command = [OPENSSL, "s_client", "-connect", address, "-CAfile", str(roots), "-verify_return_error"]
    command += ["-verify_hostname", f"kernel.{DOMAIN}", "-alpn", "h2", "-tls1_3", *map(str, options)]
    ran = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE, check=False)
    return ran.returncode, ran.stdout


@with_openssl
@pytest.mark.parametrize("shows", [True, False], ids=["a certificate", "none"])
async def test_openssl_comes_in_at_the_door_for_certificates_only_with_one(world: World, shows: bool) -> None:
    options: list[str | Path] = ["-quiet"]
    if shows:
        chain, key = world.write(await world.join(WEB))
        options += ["-cert", chain, "-cert_chain", chain, "-key", key]
    # After SETTINGS something that is no HTTP/2, at which the kernel hangs up, and so the client ends.
    _, said = await asyncio.to_thread(s_client, world, world.kernel.addresses[0], *options, given=HELLO + b"\xff" * 64)
    assert (said[3:4] == bytes([SETTINGS])) is shows, said


@with_openssl
async def test_openssl_comes_in_at_the_door_for_tokens_without_one_and_finds_the_root(world: World) -> None:
    address = world.kernel.token_addresses[0]
    _, said = await asyncio.to_thread(s_client, world, address, "-quiet", given=HELLO + b"\xff" * 64)
    assert said[3:4] == bytes([SETTINGS])
    code, said = await asyncio.to_thread(s_client, world, address, "-showcerts", given=b"")
    chain = x509_svid.read_pem(said[: said.index(b"Server certificate")])
    assert code == 0
    assert len(chain) == 3
    assert chain[-1] == world.authority.root


@with_openssl
async def test_openssl_does_not_take_the_kernel_for_somebody_else(world: World) -> None:
    address = world.kernel.token_addresses[0]
    code, _ = await asyncio.to_thread(s_client, world, address, "-verify_hostname", f"web.default.{DOMAIN}", given=b"")
    assert code != 0
