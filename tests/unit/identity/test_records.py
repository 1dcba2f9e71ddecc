"""The records of what was issued: listed, revoked and forgotten."""

from __future__ import annotations

import asyncio

import pytest
from sira.identity.v1.certificate_pb2 import Certificate

from sira_grpc.errors import InvalidField, InvalidPageToken, StoreUnavailable
from sira_grpc.identity import names
from tests.clocks import NANOS
from tests.unit.identity.world import API, DOMAIN, HOST, NODE, SERVICES, WEB, Held, World

MEMBER, OPERATOR = f"spiffe://{DOMAIN}/member/{HOST}", f"spiffe://{DOMAIN}/operator/local"


async def listed(
    world: World, *, identity: str = "", join_token: str = "", live_only: bool = False, size: int = 0, token: str = ""
) -> list[Certificate]:
    page, _ = await world.identity.records.page(
        size=size, token=token, identity=identity, join_token=join_token, live_only=live_only
    )
    return page


async def serials(world: World, **wanted: object) -> set[str]:
    return {one.serial for one in await listed(world, **wanted)}  # type: ignore[arg-type]  # its arguments


async def revoke_serial(world: World, serial: str) -> int:
    return await world.identity.records.revoke_serial(serial, cause="lost", actor="ann")


async def revoke_identity(world: World, identity: str) -> int:
    return await world.identity.records.revoke_identity(identity, cause="stolen", actor="ann")


class TestListed:
    """Records by serial number."""

    async def test_the_kernels_own_are_there(self, world: World) -> None:
        assert {one.identity for one in await listed(world)} == {MEMBER, OPERATOR}

    async def test_filters(self, world: World) -> None:
        web, api = [await world.join() for _ in range(2)], await world.join(API)
        node = await world.join(NODE)
        renewed = await world.renew(web[0])
        await revoke_serial(world, web[1].serial)
        whole = {one.serial for one in (*web, api, node, renewed)}
        own = await serials(world, identity=MEMBER) | await serials(world, identity=OPERATOR)
        assert await serials(world) == whole | own
        assert await serials(world, identity=WEB) == {one.serial for one in (*web, renewed)}
        assert await serials(world, identity=WEB, live_only=True) == {renewed.serial}
        assert await serials(world, identity=SERVICES) == whole - {node.serial}
        assert await serials(world, identity=f"spiffe://{DOMAIN}/*/*") == {node.serial} | own
        assert await serials(world, identity=f"spiffe://{DOMAIN}/none") == set()
        assert await serials(world, identity="spiffe://other.test/*/*") == set()
        assert await serials(world, live_only=True) == {api.serial, node.serial, renewed.serial} | own
        assert await serials(world, join_token=web[0].record.join_token) == {web[0].serial, renewed.serial}
        assert await serials(world, join_token=node.record.join_token, identity=WEB) == set()
        world.clock.advance(3600)
        assert await serials(world, live_only=True) == set()
        assert await serials(world) == whole | own

    @pytest.mark.parametrize(
        "identity", ["x", f"spiffe://{DOMAIN}/*/..", f"spiffe://{DOMAIN}", "spiffe://" + "d" * 256]
    )
    async def test_what_is_no_pattern_is_refused(self, world: World, identity: str) -> None:
        with pytest.raises(InvalidField, match=r"^identity: "):
            await listed(world, identity=identity)

    async def test_page_by_page(self, world: World) -> None:
        for _ in range(5):
            await world.join()
        found, token = list[Certificate](), ""
        for size in (3, 3, 1):
            page, token = await world.identity.records.page(
                size=3, token=token, identity="", join_token="", live_only=False
            )
            assert len(page) == size
            found += page
        assert [one.serial for one in found] == sorted(world.identity.view.certificates)
        assert token == ""

    async def test_a_page_token_belongs_to_its_query(self, world: World) -> None:
        for _ in range(3):
            await world.join()
        _, token = await world.identity.records.page(size=1, token="", identity=WEB, join_token="", live_only=False)
        for wanted in (
            {"identity": API},
            {"identity": ""},
            {"live_only": True},
            {"join_token": "joinTokens/0000000000"},
        ):
            with pytest.raises(InvalidPageToken):
                await listed(world, token=token, **{"identity": WEB, **wanted})  # type: ignore[arg-type]  # its arguments
        assert len(await listed(world, token=token, identity=WEB)) == 2

    async def test_a_thousand_at_most(self, world: World) -> None:
        world.identity.view.certificates.update(
            {f"{n:040x}": next(iter(world.identity.view.certificates.values())) for n in range(1500)}
        )
        assert len(await listed(world, size=5000)) == 1000
        assert len(await listed(world)) == 100


class TestRevoked:
    """What was revoked says so, and counts no more."""

    async def test_a_serial_number(self, world: World) -> None:
        held = await world.join()
        assert await revoke_serial(world, held.serial) == 1
        assert world.record(held.serial).revoke_time.ToNanoseconds() == world.clock.time_ns()
        revocation = world.identity.view.revoked_serials[held.serial].value
        assert (revocation.identity, revocation.cause, revocation.actor) == (WEB, "lost", "ann")
        assert revocation.forget_time == held.record.expire_time
        assert world.live() == 2

    async def test_a_serial_number_twice(self, world: World) -> None:
        held = await world.join()
        await revoke_serial(world, held.serial)
        first = world.record(held.serial)
        world.clock.advance(1)
        assert await revoke_serial(world, held.serial) == 0
        assert world.record(held.serial) == first

    async def test_a_serial_number_with_leading_zeros(self, world: World) -> None:
        held = await world.join()
        assert len(held.serial) == 40
        assert await revoke_serial(world, "0" * 5 + "abc") == 0
        assert list(world.identity.view.revoked_serials) == ["abc"]
        await revoke_serial(world, "000")
        assert sorted(world.identity.view.revoked_serials) == ["0", "abc"]

    async def test_a_serial_number_that_there_is_no_record_of(self, world: World) -> None:
        assert await revoke_serial(world, "abc") == 0
        forgotten = world.identity.view.revoked_serials["abc"].value.forget_time.ToNanoseconds()
        assert forgotten == world.clock.time_ns() + 86_400 * NANOS

    async def test_an_identity(self, world: World) -> None:
        held = [await world.join() for _ in range(3)]
        renewed = await world.renew(held[0])
        await revoke_serial(world, held[1].serial)
        bystander = await world.join(API)
        world.clock.advance(1)
        assert await revoke_identity(world, WEB) == 2
        assert world.live() == 3
        for one in (*held, renewed):
            assert world.record(one.serial).HasField("revoke_time")
        assert not world.record(bystander.serial).HasField("revoke_time")
        assert await revoke_identity(world, WEB) == 0
        assert await revoke_identity(world, f"spiffe://{DOMAIN}/none") == 0

    async def test_an_identity_is_refused_for_as_long_as_anything_it_was_issued_is_valid(self, world: World) -> None:
        await revoke_identity(world, WEB)
        forgotten = world.identity.view.revoked_identities[WEB].value.forget_time.ToNanoseconds()
        assert forgotten == world.clock.time_ns() + 86_400 * NANOS

    async def test_more_than_fit_in_one_commit(self, world: World) -> None:
        secret = await world.token(max_uses=1100)
        await asyncio.gather(*(world.issue(join_token=secret) for _ in range(1100)))
        assert await revoke_identity(world, WEB) == 1100
        assert await serials(world, identity=WEB, live_only=True) == set()

    @pytest.mark.parametrize("identity", ["", "x", f"spiffe://{DOMAIN}/..", f"spiffe://{DOMAIN}/*"])
    async def test_what_is_no_identity_is_refused(self, world: World, identity: str) -> None:
        with pytest.raises(InvalidField, match=r"^identity: "):
            await revoke_identity(world, identity)
        assert not world.identity.view.revoked_identities

    async def test_what_it_was_issued_since_is_left(self, world: World) -> None:
        held, secret = await world.join(), await world.token(WEB)
        world.store.shut()
        revoking = asyncio.create_task(revoke_identity(world, WEB))
        await world.store.arrived()
        world.clock.advance(0.001)
        rejoining = asyncio.create_task(world.issue(WEB, join_token=secret))
        await world.store.arrived()
        world.store.open()
        assert await revoking == 1
        fresh: Held = await rejoining
        assert not world.record(fresh.serial).HasField("revoke_time")
        assert world.record(held.serial).HasField("revoke_time")
        world.caller(fresh)

    async def test_where_nothing_can_be_written_nothing_is_revoked(self, world: World) -> None:
        held = await world.join()
        for revoking in (revoke_serial(world, held.serial), revoke_identity(world, WEB)):
            world.store.failures.append(StoreUnavailable("full"))
            with pytest.raises(StoreUnavailable):
                await revoking
        assert not world.identity.view.revoking
        world.caller(held)


class TestSwept:
    """Records are forgotten some time after what they are about has expired."""

    async def swept(self, world: World) -> dict[str, int]:
        await world.identity.records.sweep(before_ns=world.clock.time_ns() - 100 * NANOS)
        snapshot = await world.store.snapshot(names.PREFIX)
        keys = [entry.key for entry in snapshot.entries]
        return {p: sum(key.startswith(p) for key in keys) for p in (names.CERTIFICATES, names.REVOCATIONS)}

    async def test_certificates(self, world: World) -> None:
        await world.join(ttl=60)
        await world.join(ttl=120)
        world.clock.advance(160)
        assert (await self.swept(world))[names.CERTIFICATES] == 4
        world.clock.advance(0.1)
        assert (await self.swept(world))[names.CERTIFICATES] == 3
        world.clock.advance(60)
        assert (await self.swept(world))[names.CERTIFICATES] == 2
        assert len(world.identity.view.by_identity) == 2

    async def test_revocations(self, world: World) -> None:
        held = await world.join(ttl=60)
        await revoke_serial(world, held.serial)
        await revoke_serial(world, "abc")
        await revoke_identity(world, WEB)
        world.clock.advance(161)
        assert (await self.swept(world))[names.REVOCATIONS] == 2
        world.clock.advance(86_400)
        assert (await self.swept(world))[names.REVOCATIONS] == 0
        assert not world.identity.view.revoked_identities

    async def test_more_than_fit_in_one_commit(self, world: World) -> None:
        secret = await world.token(max_uses=1100)
        await asyncio.gather(*(world.issue(join_token=secret, ttl=60) for _ in range(1100)))
        world.clock.advance(161)
        assert (await self.swept(world))[names.CERTIFICATES] == 2

    async def test_what_could_not_be_swept_is_swept_the_next_time(self, world: World) -> None:
        await world.join(ttl=60)
        world.clock.advance(161)
        world.store.failures.append(StoreUnavailable("full"))
        with pytest.raises(StoreUnavailable):
            await self.swept(world)
        assert (await self.swept(world))[names.CERTIFICATES] == 2
