"""When what the kernel says is acknowledged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from sira.identity.v1.certificate_pb2 import Certificate
from sira.identity.v1.identity_service_pb2 import IssueCertificateResponse, WatchTrustBundlesResponse
from sira.identity.v1.trust_bundle_pb2 import TrustBundle
from sira_client.clock import Clock, SystemClock

from sira_grpc.agent import keyed_svid
from sira_grpc.agent.bundle_watch import Delivery
from sira_grpc.agent.holdings import Holdings
from sira_grpc.agent.settling import FILES_SECONDS, Settling
from sira_grpc.agent.trust import Trust
from sira_grpc.svid import signing_request, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import timestamp
from tests.unit.agent.authority_double import AuthorityDouble, bundle_of

DOMAIN = "example.test"
NODE = SpiffeId(DOMAIN, ("node", "one"))


class Kernel:
    """Issues when it is let, and takes acknowledgements."""

    def __init__(self) -> None:
        self.authority = AuthorityDouble(DOMAIN)
        self.open = asyncio.Event()
        self.open.set()
        self.acknowledged: asyncio.Queue[int] = asyncio.Queue()

    async def issue(self, csr: bytes, supersedes: str) -> IssueCertificateResponse:
        await self.open.wait()
        return self.answer(csr)

    def answer(self, csr: bytes) -> IssueCertificateResponse:
        request = signing_request.read(csr)
        now = time.time()
        leaf = self.authority.leaf(request.identity, [], cast(Any, request.public_key), now=now, ttl=3600)
        return IssueCertificateResponse(
            certificate=Certificate(authority=self.authority.id),
            chain=[x509_svid.to_der(leaf), x509_svid.to_der(self.authority.intermediate)],
            bundle=bundle_of(DOMAIN, self.authority),
            renew_time=timestamp(round((now + 1800) * 1e9)),
        )

    def says(self, revision: int, **changes: Any) -> Delivery:
        said: dict[str, Any] = {
            "bundle": bundle_of(DOMAIN, self.authority),
            "issuing_authority": self.authority.id,
            **changes,
        }
        return Delivery(WatchTrustBundlesResponse(revision=revision, **said), self)

    async def write(self, request: Any) -> None:
        """As the call that a delivery came with."""
        self.acknowledged.put_nowait(request.ack.revision)

    async def next(self) -> int:
        return await asyncio.wait_for(self.acknowledged.get(), 10)


@asynccontextmanager
async def settling(kernel: Kernel, clock: Clock | None = None, **how: Any) -> AsyncIterator[tuple[Settling, Holdings]]:
    key, csr = signing_request.make(NODE)
    own = keyed_svid.accept(kernel.answer(csr), key, NODE, now=time.time())
    trust = Trust(bundle_of(DOMAIN, kernel.authority), authority=kernel.authority.id)
    holdings = Holdings(trust, own, issue=kernel.issue, clock=SystemClock(), random=random.Random(7))
    made = Settling(holdings, clock=clock or SystemClock(), **how)
    running = asyncio.create_task(made.run())
    try:
        yield made, holdings
    finally:
        running.cancel()
        await asyncio.wait({running})
        await holdings.close()


async def test_what_changes_nothing_is_acknowledged_at_once() -> None:
    kernel = Kernel()
    async with settling(kernel) as (made, holdings):
        before = holdings.trust
        made.received(kernel.says(5))
        assert await kernel.next() == 5
        assert holdings.trust is before


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": TrustBundle(trust_domain="other.test", x509_authorities=[b"x"])},
        {"bundle": TrustBundle(trust_domain=DOMAIN)},
        {"bundle": TrustBundle(trust_domain=DOMAIN, x509_authorities=[b"garbage"])},
        {"federated": [TrustBundle(trust_domain="../x", x509_authorities=[])]},
        {"crls": [b"garbage"]},
    ],
)
async def test_what_is_malformed_is_neither_heeded_nor_acknowledged(changes: dict[str, Any]) -> None:
    kernel = Kernel()
    async with settling(kernel) as (made, holdings):
        before = holdings.trust
        made.received(kernel.says(5, **changes))
        made.received(kernel.says(6))
        assert await kernel.next() == 6
        assert holdings.trust is before


async def test_another_trust_domain_cannot_speak_for_the_own_one() -> None:
    kernel = Kernel()
    async with settling(kernel) as (made, holdings):
        made.received(kernel.says(5, federated=[bundle_of(DOMAIN, AuthorityDouble(DOMAIN))]))
        assert await kernel.next() == 5
        assert holdings.trust.federated == ()


async def test_what_is_overtaken_is_not_acknowledged() -> None:
    kernel = Kernel()
    async with settling(kernel) as (made, holdings):
        old = kernel.authority
        kernel.open.clear()
        kernel.authority = AuthorityDouble(DOMAIN)
        made.received(kernel.says(5))
        assert holdings.own.outdated
        kernel.authority = old
        made.received(kernel.says(6))
        assert await kernel.next() == 6
        assert kernel.acknowledged.empty()


async def test_it_waits_until_all_is_renewed() -> None:
    kernel = Kernel()
    async with settling(kernel) as (made, holdings):
        kernel.open.clear()
        kernel.authority = AuthorityDouble(DOMAIN)
        made.received(kernel.says(5))
        asyncio.get_running_loop().call_soon(kernel.open.set)
        assert await kernel.next() == 5
        assert holdings.own.svid is not None
        assert holdings.own.svid.authority == kernel.authority.id


async def test_it_waits_for_who_reads_and_not_for_ever() -> None:
    kernel = Kernel()
    async with settling(kernel, read_seconds=0.05) as (made, holdings):
        stuck = holdings.streams.subscribe(holdings.streams.revision)
        begun = time.monotonic()
        made.received(kernel.says(5, federated=[bundle_of("other.test", AuthorityDouble("other.test"))]))
        assert await kernel.next() == 5
        assert time.monotonic() - begun >= 0.05
        stuck.close()


async def test_it_waits_for_the_disk_for_ever() -> None:
    kernel = Kernel()
    async with settling(kernel, read_seconds=0.0) as (made, holdings):
        disk = holdings.files.subscribe(holdings.files.revision)
        made.received(kernel.says(5, federated=[bundle_of("other.test", AuthorityDouble("other.test"))]))
        await disk.wait()
        assert kernel.acknowledged.empty()
        disk.sent(holdings.files.revision)
        assert await kernel.next() == 5
        disk.close()


class Pausing(SystemClock):
    """Who sleeps is held up until a test lets him go on."""

    def __init__(self) -> None:
        self.slept: asyncio.Queue[float] = asyncio.Queue()
        self.go_on = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.put_nowait(seconds)
        await self.go_on.wait()


async def test_programs_are_given_the_time_to_look_at_their_files() -> None:
    kernel, clock = Kernel(), Pausing()
    async with settling(kernel, clock=clock) as (made, holdings):
        reader = holdings.files.subscribe(holdings.files.revision)
        made.received(kernel.says(5))
        assert await asyncio.wait_for(clock.slept.get(), 10) == FILES_SECONDS
        assert kernel.acknowledged.empty()
        clock.go_on.set()
        assert await kernel.next() == 5
        reader.close()
