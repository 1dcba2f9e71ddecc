"""A kernel with identity is killed: what it answered is there when it comes back, and what it had begun goes on."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc import aio
from sira.identity.v1 import authority_service_pb2 as authority_pb
from sira.identity.v1 import identity_service_pb2 as pb
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sira.identity.v1.rotation_pb2 import Rotation, RotationStage

from sira_grpc.svid import x509_svid
from sira_grpc.svid.join_secret import fingerprint
from tests.integration.identity_process import (
    CALL_SECONDS,
    TRUST_DOMAIN,
    KernelProcess,
    Member,
    Refusal,
    call,
    identity,
    issue,
    refused,
    rotated,
    running,
)
from tests.integration.sira_process import up

PUBLISHING = RotationStage.ROTATION_STAGE_PUBLISHING
ISSUING = RotationStage.ROTATION_STAGE_ISSUING
RETIRING = RotationStage.ROTATION_STAGE_RETIRING
MIN_STAGE = "0.3"
DEADLINE = 180
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
GONE: Refusal = (grpc.StatusCode.UNAVAILABLE, "")
USED_UP: Refusal = (UNAUTHENTICATED, "JOIN_TOKEN_INVALID")
REVOKED: Refusal = (UNAUTHENTICATED, "CREDENTIAL_REVOKED")


@dataclass
class Killed:
    """A rotation during which the kernel was killed.

    Attributes:
        stage: that it was in.
        rotation: as it was then.
        first: what the member joined with.
        member: follows.
        idle: holds a certificate and follows nothing.
        token: that they have joined with, and have used up.
    """

    stage: RotationStage.ValueType
    rotation: Rotation
    first: Member
    member: Member
    idle: Member
    token: str

    @property
    def members(self) -> list[Member]:
        return [self.first, self.member, self.idle]


async def kill_in(stage: RotationStage.ValueType, folder: Path, *, turned: bool) -> Killed:
    """Rotates up to a stage, which the member holds by not acknowledging it, and kills the kernel there."""
    async with running(folder, rotation_min_stage=MIN_STAGE) as kernel:
        token, secret = await kernel.create_token(2)
        member, idle = await kernel.join("web", secret), await kernel.join("idle", secret)
        first = Member(kernel, member.name, member.files, member.record)
        await kernel.start_rotation()
        async with aclosing(member.states()) as states:
            async for state in states:
                rotation = (await kernel.status()).rotation
                if rotation.stage == stage and turned:
                    await member.take(state)
                    assert member.record.authority == rotation.to_authority
                    await kernel.cancel_rotation()
                    rotation = (await kernel.status()).rotation
                if rotation.stage == stage:
                    kernel.kill()
                    break
                if rotation.stage == ISSUING:
                    await idle.renew()
    return Killed(stage, rotation, first, member, idle, token)


async def see_through(kernel: KernelProcess, killed: Killed) -> authority_pb.IdentityStatus:
    """Follows to the end. Whoever does not follow renews as late as the rotation waits for it."""
    async with aclosing(killed.member.states()) as states:
        async for _ in states:
            status = await kernel.status()
            if rotated(status):
                return status
            if status.rotation.stage == ISSUING and killed.idle.record.authority != status.rotation.to_authority:
                assert status.rotation.certificates_pending >= 1
                await killed.idle.renew()
    raise AssertionError("it goes on for ever")


async def check_end(kernel: KernelProcess, killed: Killed, status: authority_pb.IdentityStatus) -> None:
    """The last root is the only one, those who followed are in, and nobody needed another token."""
    (left,) = status.authorities
    assert left.id == killed.rotation.to_authority
    for holder in (killed.member, killed.idle):
        assert holder.record.authority == left.id
        assert await kernel.refusal(holder.files) is None
    async with kernel.token_door() as channel:
        stub: Any = IdentityServiceStub(channel)
        answer = await stub.GetTrustBundle(pb.GetTrustBundleRequest(), timeout=CALL_SECONDS)
    roots = [fingerprint(x509_svid.read_der(der)) for der in answer.bundle.x509_authorities]
    assert roots == [left.root_sha256]
    assert await kernel.uses(killed.token) == 2


async def check_stage(kernel: KernelProcess, killed: Killed) -> None:
    """The rotation is where it was, and what was issued before counts as its stage says."""
    rotation = (await kernel.status()).rotation
    was = killed.rotation
    assert (rotation.stage, rotation.cancelled) == (was.stage, was.cancelled)
    assert (rotation.from_authority, rotation.to_authority) == (was.from_authority, was.to_authority)
    for holder in killed.members:
        refusal = await kernel.refusal(holder.files)
        gone = killed.stage == RETIRING and holder.record.authority == was.from_authority
        assert refusal == (GONE if gone else None), (holder.name, holder.record.authority)


async def survive(stage: RotationStage.ValueType, folder: Path, *, turned: bool = False) -> None:
    killed = await kill_in(stage, folder, turned=turned)
    assert (killed.rotation.stage, killed.rotation.cancelled) == (stage, turned)
    async with running(folder, rotation_min_stage=MIN_STAGE) as kernel:
        await check_stage(kernel, killed)
        for holder in killed.members:
            await holder.move(kernel)
        if stage == PUBLISHING:
            await killed.idle.renew()
            assert killed.idle.record.authority == killed.rotation.from_authority
        status = await see_through(kernel, killed)
        await check_end(kernel, killed, status)
        assert (status.authorities[0].id == killed.first.record.authority) == turned
        assert (await kernel.refusal(killed.first.files) is None) == turned
        for holder in killed.members:
            await holder.close()


async def test_a_rotation_goes_on_in_the_stage_that_the_kernel_was_killed_in(tmp_path: Path) -> None:
    """All at once: each waits some seconds for those who were connected before."""
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for stage in (PUBLISHING, ISSUING, RETIRING):
            group.create_task(survive(stage, tmp_path / RotationStage.Name(stage)))
        group.create_task(survive(ISSUING, tmp_path / "turned", turned=True))


@dataclass
class Joining:
    """A join token, and what was answered to those who used it."""

    name: str
    secret: str
    max_uses: int
    serials: list[str] = field(default_factory=list)
    news: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def join(self, kernel: KernelProcess) -> None:
        """Joins again and again, until the token is used up or the kernel is gone."""
        async with kernel.token_door() as channel:
            refusal = None
            while refusal is None:
                refusal = await refused(self._join(channel))
        assert refusal in (USED_UP, GONE)

    async def check(self, kernel: KernelProcess) -> int:
        """After a kill: what was answered is there. Uses up what is left, and returns how many answers were lost."""
        recorded = [record.serial for record in await kernel.certificates(self.name)]
        assert set(self.serials) <= set(recorded)
        assert len(self.serials) <= await kernel.uses(self.name) == len(recorded) <= self.max_uses
        lost = len(recorded) - len(self.serials)
        await asyncio.gather(*(self.join(kernel) for _ in range(4)))
        assert len(set(self.serials)) == len(self.serials) == self.max_uses - lost
        assert await kernel.uses(self.name) == len(await kernel.certificates(self.name)) == self.max_uses
        return lost

    async def _join(self, channel: aio.Channel) -> None:
        _, record = await issue(channel, "worker", self.secret)
        self.serials.append(record.serial)
        self.news.release()


JOINS = 20
CALLERS = 8
KILLS = 12


@pytest.mark.parametrize("seed", [20_26])
async def test_no_kill_loses_what_was_issued_or_has_a_join_token_used_too_often(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    joinings: list[Joining] = []
    answered = 0
    async with asyncio.timeout(DEADLINE):
        for left in reversed(range(KILLS + 1)):
            async with running(tmp_path) as kernel:
                for joining in joinings:
                    await joining.check(kernel)
                if not left:
                    break
                many = Joining(*await kernel.create_token(JOINS), JOINS)
                once = Joining(*await kernel.create_token(), 1)
                joinings = [many, once]
                tasks = [asyncio.create_task(many.join(kernel)) for _ in range(CALLERS)]
                for _ in range(rng.randint(1, JOINS - 1)):
                    await many.news.acquire()
                tasks += [asyncio.create_task(once.join(kernel)) for _ in range(2)]
                await asyncio.sleep(rng.uniform(0, 0.02))
                kernel.kill()
                await asyncio.gather(*tasks)
                answered += len(many.serials)
    assert KILLS < answered < KILLS * JOINS  # and so some were killed while they issued


@dataclass
class Revoking:
    """Somebody who is revoked, and what is shown to prove it."""

    member: Member
    jwt: str
    whole: bool
    acknowledged: bool = False

    async def revoke(self, kernel: KernelProcess) -> None:
        request = authority_pb.RevokeCertificatesRequest(cause="killed")
        if self.whole:
            request.identity = self.member.record.identity
        else:
            request.serial = self.member.record.serial
        async with kernel.authority() as stub:
            refusal = await refused(stub.RevokeCertificates(request, timeout=CALL_SECONDS))
        assert refusal in (None, GONE)
        self.acknowledged = refusal is None

    async def check(self, kernel: KernelProcess) -> None:
        assert await kernel.refusal(self.member.files) == REVOKED
        await self.member.move(kernel)
        assert await refused(self.member.renew()) == REVOKED
        async with kernel.token_door() as channel:
            refusal = await refused(call(channel, metadata=(("authorization", f"Bearer {self.jwt}"),)))
        assert refusal == (REVOKED if self.whole else None)


async def revocable(kernel: KernelProcess, secret: str, name: str, *, whole: bool) -> Revoking:
    member = await kernel.join(name, secret)
    stub: Any = IdentityServiceStub(member.channel)
    request = pb.IssueJwtRequest(audiences=[f"spiffe://{TRUST_DOMAIN}"])
    answer = await stub.IssueJwt(request, timeout=CALL_SECONDS)
    return Revoking(member, answer.token, whole)


async def revoked_serials(member: Member) -> set[str]:
    """What the revocation lists say that a member is sent."""
    async with aclosing(member.states()) as states:
        async for state in states:
            lists = [x509.load_der_x509_crl(crl) for crl in state.crls]
            return {f"{revoked.serial_number:x}" for crl in lists for revoked in crl}
    raise AssertionError("it goes on for ever")


@pytest.mark.parametrize("seed", [20_26])
async def test_what_was_revoked_stays_revoked(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    async with asyncio.timeout(DEADLINE):
        async with running(tmp_path) as kernel:
            _, secret = await kernel.create_token(17)
            kept = await kernel.join("kept", secret)
            revoking = [await revocable(kernel, secret, f"s{n}", whole=n % 2 == 0) for n in range(16)]
        everybody = list(revoking)
        for _ in range(3):
            rng.shuffle(revoking)
            async with running(tmp_path) as kernel:
                tasks = [asyncio.create_task(one.revoke(kernel)) for one in revoking[:6]]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(rng.uniform(0, 0.01))
                kernel.kill()
                await asyncio.gather(*tasks)
                revoking = [one for one in revoking if not one.acknowledged]
        gone = [one for one in everybody if one.acknowledged]
        assert {one.whole for one in gone} == {True, False}
        async with running(tmp_path) as kernel:
            for one in gone:
                await one.check(kernel)
            await kept.move(kernel)
            assert {one.member.record.serial for one in gone} <= await revoked_serials(kept)
            assert await kernel.refusal(kept.files) is None
            for one in everybody:
                await one.member.close()
            await kept.close()


async def measure_first_start(folder: Path) -> float:
    begun = time.monotonic()
    async with running(folder):
        return time.monotonic() - begun


async def start_after_kill(folder: Path, seconds: float, *, founded: bool) -> None:
    """Kills the first start some time after it began, or after it founded the trust domain, and starts again."""
    operator = folder / "identity" / "operator" / "bundle.pem"
    with up(folder) as process:
        if founded:
            await asyncio.to_thread(process.chatter, "founded the trust domain")
        await asyncio.sleep(seconds)
    before = operator.read_bytes() if operator.exists() else b""
    async with running(folder) as kernel:
        status = await kernel.status()
        (authority,) = status.authorities
        assert (status.trust_domain, authority.root_sha256) == (TRUST_DOMAIN, kernel.root_sha256)
        assert before in (b"", kernel.operator().bundle)
        _, secret = await kernel.create_token()
        member = await kernel.join("web", secret)
        assert await kernel.refusal(member.files) is None
        assert member.record.identity == str(identity("web"))
        await member.close()


@pytest.mark.parametrize("seed", [20_26])
async def test_the_first_start_may_be_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    async with asyncio.timeout(DEADLINE):
        took = await measure_first_start(tmp_path / "whole")
        for number in range(4):  # imports come first, which write nothing
            await start_after_kill(tmp_path / f"begun{number}", took * rng.uniform(0.7, 1.0), founded=False)
        for number in range(4):
            await start_after_kill(tmp_path / f"founded{number}", rng.uniform(0.0, 0.05), founded=True)
