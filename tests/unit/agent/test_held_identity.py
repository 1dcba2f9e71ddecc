"""One held identity: when it is renewed, and what it does when it is not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sira.identity.v1.certificate_pb2 import Certificate
from sira.identity.v1.identity_service_pb2 import IssueCertificateResponse

from sira_grpc.agent.failures import Refused, Unready
from sira_grpc.agent.held_identity import HeldIdentity
from sira_grpc.agent.trust import Trust
from sira_grpc.svid import signing_request, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import timestamp
from tests.unit.agent.authority_double import AuthorityDouble, bundle_of
from tests.unit.agent.fake_time import FakeTime

DOMAIN = "example.test"
IDENTITY = SpiffeId.parse(f"spiffe://{DOMAIN}/ns/default/svc/checkout")
HOUR = 3600.0


class Issuer:
    """What the kernel does, as the test tells it."""

    def __init__(self, time: FakeTime) -> None:
        self.time = time
        self.authorities = [AuthorityDouble(DOMAIN)]
        self.authority = self.authorities[0]
        self.problem: Refused | Unready | None = None
        self.requests: list[signing_request.SigningRequest] = []
        self.attempts: list[float] = []
        self.superseded: list[str] = []
        self.identity = IDENTITY
        self.ttl = HOUR

    async def issue(self, csr: bytes, supersedes: str) -> IssueCertificateResponse:
        self.attempts.append(self.time.now)
        self.superseded.append(supersedes)
        if self.problem is not None:
            raise self.problem
        request = signing_request.read(csr)
        self.requests.append(request)
        key = cast(ec.EllipticCurvePublicKey, request.public_key)
        leaf = self.authority.leaf(self.identity, [], key, now=self.time.now, ttl=self.ttl)
        return IssueCertificateResponse(
            certificate=Certificate(authority=self.authority.id),
            chain=[x509_svid.to_der(leaf), x509_svid.to_der(self.authority.intermediate)],
            bundle=bundle_of(DOMAIN, *self.authorities),
            renew_time=timestamp(round((self.time.now + self.ttl / 2) * 1e9)),
        )

    def trust(self, *revoked: str, within: float = 0.0) -> Trust:
        crl = self.authority.crl([int(serial, 16) for serial in revoked], now=self.time.now)
        return Trust(
            bundle_of(DOMAIN, *self.authorities), crls=(crl,), authority=self.authority.id, renew_within=within
        )


class Held:
    """A held identity that runs, and whose changes can be waited for."""

    def __init__(self, issuer: Issuer, time: FakeTime) -> None:
        self.issuer = issuer
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.identity = HeldIdentity(
            IDENTITY,
            ("checkout.example.org",),
            issue=issuer.issue,
            changed=self._on_change,
            clock=time,
            random=random.Random(7),
        )

    def _on_change(self) -> None:
        task = asyncio.ensure_future(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], object]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    @property
    def serial(self) -> str:
        return self.identity.svid.serial if self.identity.svid is not None else ""

    async def issued(self) -> str:
        await self.until(lambda: self.serial)
        return self.serial


@pytest.fixture
def time() -> FakeTime:
    return FakeTime(now=x509_now())


def x509_now() -> float:
    """A moment at which the authorities of this test are valid."""
    return AuthorityDouble(DOMAIN).root.not_valid_before_utc.timestamp() + 600


@asynccontextmanager
async def running(time: FakeTime) -> AsyncIterator[tuple[Held, Issuer]]:
    issuer = Issuer(time)
    held = Held(issuer, time)
    task = asyncio.create_task(held.identity.run())
    try:
        yield held, issuer
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_it_is_issued_with_its_dns_names(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        await held.issued()
        assert issuer.requests[0].identity == IDENTITY
        assert issuer.requests[0].dns_names == ("checkout.example.org",)


async def test_it_is_renewed_at_half_of_its_life_with_a_new_key(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        first = await held.issued()
        begun = time.now
        await time.advance(0.89 * HOUR / 2)
        assert held.serial == first
        await time.advance(0.11 * HOUR / 2)
        assert held.serial != first
        assert 0.9 * HOUR / 2 <= issuer.attempts[1] - begun <= HOUR / 2
        assert issuer.requests[0].public_key != issuer.requests[1].public_key


async def test_the_old_one_stays_while_the_kernel_is_away_and_goes_when_it_expires(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        first = await held.issued()
        issuer.problem = Unready("the kernel is away")
        await time.advance(0.99 * HOUR)
        assert held.serial == first
        assert held.identity.trouble is issuer.problem
        await time.advance(0.02 * HOUR)
        assert held.identity.svid is None
        issuer.problem = None
        await time.advance(31)
        assert held.serial not in ("", first)
        assert held.identity.trouble is None


async def test_attempts_back_off_to_half_a_minute(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        issuer.problem = Unready("the kernel is away")
        await held.until(lambda: held.identity.trouble)
        await time.advance(600)
        pauses = [later - sooner for sooner, later in zip(issuer.attempts, issuer.attempts[1:], strict=False)]
        assert 0.25 <= pauses[0] <= 0.5
        assert all(15 <= pause <= 30 for pause in pauses[-10:])


async def test_it_waits_for_as_long_as_the_kernel_asks(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        issuer.problem = Unready("the kernel is stopping", retry_after=5.0)
        await held.until(lambda: held.identity.trouble)
        issuer.problem = None
        await time.advance(4.9)
        assert len(issuer.attempts) == 1
        await time.advance(1)
        assert held.serial


async def test_it_is_renewed_at_once_when_another_authority_issues(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        first = await held.issued()
        issuer.authorities.append(AuthorityDouble(DOMAIN))
        held.identity.heed(issuer.trust())
        assert not held.identity.outdated
        issuer.authority = issuer.authorities[1]
        held.identity.heed(issuer.trust())
        assert held.identity.outdated
        await held.until(lambda: held.serial != first)
        assert not held.identity.outdated


async def test_renewals_after_a_rotation_are_spread_as_the_kernel_says(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        first = await held.issued()
        held.identity.heed(issuer.trust())
        begun = time.now
        issuer.authority = AuthorityDouble(DOMAIN)
        issuer.authorities.append(issuer.authority)
        for _ in range(3):  # the same said again draws no new moment
            held.identity.heed(issuer.trust(within=100.0))
        await time.advance(100.0)
        assert held.serial != first
        assert 1 < issuer.attempts[-1] - begun < 100
        assert len(issuer.attempts) == 2


async def test_the_kernel_is_told_what_is_given_up(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        first = await held.issued()
        held.identity.renew()
        await held.until(lambda: held.serial != first)
        assert issuer.superseded == ["", first]


async def test_it_is_renewed_at_once_when_it_is_revoked(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        first = await held.issued()
        held.identity.heed(issuer.trust("123456"))
        held.identity.heed(issuer.trust(first))
        await held.until(lambda: held.serial != first)
        assert len(issuer.attempts) == 2


async def test_it_does_not_hurry_when_the_kernel_issues_with_another_authority_than_it_says(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        await held.issued()
        other = Trust(bundle_of(DOMAIN, *issuer.authorities), authority="another")
        held.identity.heed(other)
        await held.until(lambda: len(issuer.attempts) > 1)
        await time.advance(300)
        assert 10 < len(issuer.attempts) < 30


async def test_it_does_not_hurry_when_the_clock_is_ahead_of_the_kernels(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        issuer.ttl = -1.0
        await held.until(lambda: held.identity.trouble)
        await time.advance(300)
        assert len(issuer.attempts) < 30
        assert "expired" in str(held.identity.trouble)


async def test_what_was_not_asked_for_is_not_taken(time: FakeTime) -> None:
    async with running(time) as (held, issuer):
        issuer.identity = SpiffeId.parse(f"spiffe://{DOMAIN}/ns/default/svc/another")
        await held.until(lambda: held.identity.trouble)
        assert "not for" in str(held.identity.trouble)
        issuer.identity = IDENTITY
        issuer.authorities = [AuthorityDouble(DOMAIN)]  # whose bundle does not vouch for who issues
        await time.advance(1)
        await held.until(lambda: "vouches" in str(held.identity.trouble))
        assert held.identity.svid is None
