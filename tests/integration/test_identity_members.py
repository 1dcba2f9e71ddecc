"""Identity of several members on a real NATS server: what they do at the same moment is as if they took turns."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sira.identity.v1.join_token_pb2 import JoinToken

from sira_grpc.bundle_endpoint import BundleFetcher
from sira_grpc.clock import SystemClock
from sira_grpc.config import IdentityConfig, Secret
from sira_grpc.errors import Conflict, CredentialRevoked, JoinTokenInvalid
from sira_grpc.identity.callers import Caller
from sira_grpc.identity.identity import Identity, open_identity
from sira_grpc.identity.issuer import Issued
from sira_grpc.identity.members import Members
from sira_grpc.nats_servers import NatsCluster
from sira_grpc.placement import Alone
from sira_grpc.store.nats import NatsStore, open_nats
from sira_grpc.store.nats_options import NatsOptions
from sira_grpc.svid import signing_request, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId

PATIENCE = 30
WEB = "spiffe://td.test/ns/default/svc/web"
RENEWALS = 5
"""Renewals at each member before the identity is revoked."""


class AllLive(Alone):
    """The placement of a member among others that are all live."""

    def is_live(self, member: str) -> bool:
        return True


@dataclass
class Member:
    """One of them."""

    identity: Identity
    store: NatsStore

    async def issue(self, secret: str = "", caller: Caller | None = None) -> Issued:
        """Has a certificate issued for a new key."""
        _, csr = signing_request.make(SpiffeId.parse(WEB), ())
        return await self.identity.issuer.certificate(
            csr, join_token=secret, ttl=None, supersedes="", caller=caller, actor="test"
        )

    def caller(self, issued: Issued) -> Caller:
        """Who shows a certificate. Raises what the kernel refuses it with."""
        leaf, *above = ([x509_svid.read_der(der)] for der in issued.chain)
        pem = x509_svid.to_pem([certificate for each in above for certificate in each])
        return self.identity.callers.by_certificate(x509_svid.to_pem(leaf), pem)


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[Member]]:
    """Three members, started at once on an empty store, each with a folder of its own and the same passphrase."""
    clock = SystemClock()
    async with NatsCluster(tmp_path / "nats", 1) as servers:
        options = NatsOptions(servers.url, replicas=1)
        stores = [await open_nats(options, clock=clock) for _ in range(3)]

        async def start(number: int, store: NatsStore) -> Identity:
            config = IdentityConfig(
                enabled=True,
                dir=str(tmp_path / f"identity-{number}"),
                trust_domain="td.test",
                passphrase=Secret("correct horse"),
                rotation_min_stage=0,
            )
            return await open_identity(
                store,
                BundleFetcher(ca_file=None),
                config,
                host=f"h{number}",
                names=["localhost"],
                clock=clock,
                random_bytes=secrets.token_bytes,
                members=Members(AllLive(f"m{number}")),
            )

        identities = await asyncio.gather(*(start(number, store) for number, store in enumerate(stores)))
        yield [Member(identity, store) for identity, store in zip(identities, stores, strict=True)]
        for identity in identities:
            await identity.close()
        for store in stores:
            await store.close()


async def level(members: list[Member]) -> None:
    """Returns once every member has seen all that any of them knows of."""
    revision = max(member.store.revision for member in members)
    async with asyncio.timeout(PATIENCE):
        for member in members:
            await member.identity.view.caught_up(revision)


async def token(member: Member, uses: int) -> str:
    asked = JoinToken(identities=[WEB], max_uses=uses)
    _, secret = await member.identity.tokens.create(asked, ttl=600, actor="test")
    return str(secret)


async def test_one_founds(members: list[Member]) -> None:
    assert sorted(member.identity.founded for member in members) == [False, False, True]
    assert len({member.identity.root_fingerprint for member in members}) == 1
    await level(members)
    for member in members:
        shown = member.identity.member.read()
        for other in members:
            caller = other.identity.callers.by_certificate(shown.chain, shown.chain)
            assert caller.identity == member.identity.member_identity


@pytest.mark.parametrize("uses", [1, 7, 40])
async def test_a_token_is_good_for_so_many_uses(members: list[Member], uses: int) -> None:
    secret = await token(members[0], uses)
    await level(members)
    attempts = [member.issue(secret) for member in members for _ in range(20)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert Counter(map(type, outcomes)) == {Issued: uses, JoinTokenInvalid: 60 - uses}


async def test_nobody_renews_out_of_a_revocation(members: list[Member]) -> None:
    secret = await token(members[0], 3)
    await level(members)
    underway = [asyncio.Event() for _ in members]

    async def renew(member: Member, renewed: asyncio.Event) -> int:
        """Renews again and again, as whoever has stolen a key would, until it is refused."""
        caller, count = member.caller(await member.issue(secret)), 0
        while True:
            try:
                caller = member.caller(await member.issue(caller=caller))
            except CredentialRevoked:
                return count
            except Conflict:
                continue
            count += 1
            if count == RENEWALS:
                renewed.set()

    renewing = [asyncio.create_task(renew(*pair)) for pair in zip(members, underway, strict=True)]
    async with asyncio.timeout(PATIENCE):
        for renewed in underway:
            await renewed.wait()
        assert await members[1].identity.records.revoke_identity(WEB, cause="stolen", actor="test") >= 1
        assert min(await asyncio.gather(*renewing)) >= RENEWALS
    await level(members)
    for member in members:
        view = member.identity.view
        for serial in view.by_identity[WEB]:
            assert view.revoked(WEB, serial, view.certificates[serial].value.issue_time.ToNanoseconds())
        with pytest.raises(JoinTokenInvalid):
            await member.issue(secret)


async def test_the_root_is_exchanged_at_all_of_them(members: list[Member]) -> None:
    before = members[0].identity.root_fingerprint
    await members[2].identity.rotator.start()
    async with asyncio.timeout(PATIENCE):
        for member in members:
            view = member.identity.view
            while view.rotation is not None:
                await view.caught_up(view.revision + 1)
    await level(members)
    (after,) = {member.identity.root_fingerprint for member in members}
    assert after != before
    for member in members:
        shown = member.identity.member.read()
        for other in members:
            other.identity.callers.by_certificate(shown.chain, shown.chain)
