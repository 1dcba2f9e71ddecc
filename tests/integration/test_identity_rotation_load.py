"""The root is rotated while forty members call and renew: no call fails, whether it is seen through or turned back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from grpc import aio
from sira.identity.v1.authority_service_pb2 import IdentityStatus
from sira.identity.v1.rotation_pb2 import RotationStage

from sira_grpc.identity.rotation import LOOK_SECONDS
from sira_grpc.svid import x509_svid
from sira_grpc.svid.join_secret import fingerprint
from tests.integration.identity_process import KernelProcess, Member, call, rotated, running

MEMBERS = 40
CALLS_PER_SECOND = 5.0
MIN_STAGE = "0.5"
DEADLINE = 180
ISSUING = RotationStage.ROTATION_STAGE_ISSUING


class Caller:
    """A member that calls at a steady rate, and follows."""

    def __init__(self, member: Member, number: int) -> None:
        self.member = member
        self.called = 0
        self.failed: list[str] = []
        self._number = number
        self._news = asyncio.Event()

    async def call(self) -> None:
        due = time.monotonic() + self._number / MEMBERS / CALLS_PER_SECOND
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += 1 / CALLS_PER_SECOND
            try:
                async with self.member.calling:
                    await call(self.member.channel)
            except aio.AioRpcError as error:
                self.failed.append(f"{error.code().name}: {error.details()}")
            self.called += 1
            self._news.set()

    async def follow(self) -> None:
        async with aclosing(self.member.states()) as states:
            async for _ in states:
                pass

    async def calls(self, count: int) -> None:
        """Returns after so many further calls."""
        last = self.called + count
        while self.called < last:
            self._news.clear()
            await self._news.wait()

    async def holds(self, done: Callable[[Member], bool]) -> None:
        """Returns when what the member holds is as it should be."""
        while not done(self.member):
            self.member.changed.clear()
            await self.member.changed.wait()


@asynccontextmanager
async def fleet(kernel: KernelProcess) -> AsyncIterator[list[Caller]]:
    """Has members that call and follow for the length of the block."""
    _, secret = await kernel.create_token(MEMBERS)
    callers = [Caller(await kernel.join(f"s{number}", secret), number) for number in range(MEMBERS)]
    tasks = [asyncio.create_task(work) for caller in callers for work in (caller.call(), caller.follow())]
    try:
        await asyncio.gather(*(caller.calls(2) for caller in callers))
        yield callers
        await asyncio.gather(*(caller.calls(2) for caller in callers))
        assert [task for task in tasks if task.done()] == []
        assert [failure for caller in callers for failure in caller.failed] == []
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(caller.member.close() for caller in callers))


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[KernelProcess, Member]]:
    """Has a kernel, and one who follows as far as it is told to: where it stops, a rotation waits for it."""
    async with asyncio.timeout(DEADLINE), running(folder, rotation_min_stage=MIN_STAGE) as kernel:
        _, secret = await kernel.create_token()
        member = await kernel.join("watching", secret)
        try:
            yield kernel, member
        finally:
            await member.close()


def issuing(status: IdentityStatus) -> bool:
    return status.rotation.stage == ISSUING


def roots(bundle: bytes) -> list[str]:
    return [fingerprint(root) for root in x509_svid.read_pem(bundle)]


async def settle(callers: list[Caller], status: IdentityStatus) -> None:
    """Returns when everybody holds what the only authority issued, and trusts it alone."""
    (left,) = status.authorities

    def settled(member: Member) -> bool:
        return member.record.authority == left.id and roots(member.files.bundle) == [left.root_sha256]

    await asyncio.gather(*(caller.holds(settled) for caller in callers))


async def test_no_call_fails_while_the_root_is_rotated(tmp_path: Path) -> None:
    async with world(tmp_path) as (kernel, member), fleet(kernel) as callers:
        rotation = await kernel.start_rotation()
        status = await member.until(rotated)
        assert [authority.id for authority in status.authorities] == [rotation.to_authority]
        await settle(callers, status)


async def test_no_call_fails_while_a_rotation_is_turned_back(tmp_path: Path) -> None:
    async with world(tmp_path) as (kernel, member), fleet(kernel) as callers:
        rotation = await kernel.start_rotation()
        await member.until(issuing)
        new = rotation.to_authority
        await asyncio.gather(*(caller.holds(lambda held: held.record.authority == new) for caller in callers[::2]))
        await kernel.cancel_rotation()
        turned = (await kernel.status()).rotation
        assert (turned.stage, turned.cancelled, turned.from_authority) == (ISSUING, True, new)
        status = await member.until(rotated)
        assert [authority.id for authority in status.authorities] == [rotation.from_authority]
        assert status.authorities[0].root_sha256 == kernel.root_sha256
        await settle(callers, status)


async def test_who_was_away_while_the_new_root_was_published_connects_and_renews(tmp_path: Path) -> None:
    async with world(tmp_path) as (kernel, member):
        _, secret = await kernel.create_token(2)
        away = await kernel.join("away", secret)
        await away.close()
        before = away.files
        assert roots(before.bundle) == [kernel.root_sha256]

        rotation = await kernel.start_rotation()
        status = await member.until(issuing)
        await member.renew()
        assert member.record.authority == rotation.to_authority
        assert status.rotation.certificates_pending >= 1
        # Away until the stage could have ended, if not for it: nobody watches, so its certificate alone is waited for.
        await asyncio.sleep(float(MIN_STAGE) + 1.5 * LOOK_SECONDS)
        assert issuing(await kernel.status())

        await away.move(kernel)
        await call(away.channel)
        joined = await kernel.join("joined", secret, before.bundle)
        assert joined.record.authority == rotation.to_authority
        await away.renew()
        assert away.record.authority == rotation.to_authority
        assert len(roots(away.files.bundle)) == 2
        status = await member.until(rotated)
        assert [authority.id for authority in status.authorities] == [rotation.to_authority]
        for holder in (away, joined):
            await call(holder.channel)
            await holder.close()
        assert await kernel.refusal(before) is not None
