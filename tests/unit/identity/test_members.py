"""Several members on one store: one founds, one use of a token counts once, and what one revokes all refuse."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence

import msgspec
import pytest

from sira_grpc.errors import ConfigError, Conflict, CredentialRevoked, JoinTokenInvalid, NotOwner
from sira_grpc.identity import names
from sira_grpc.identity.sealing import KEY_FILE
from tests.unit.identity.crowd import Crowd, Member
from tests.unit.identity.upstream import Upstream, authority
from tests.unit.identity.world import API, NODE, PATIENCE, WEB, Held


async def starts(members: Sequence[Member]) -> list[BaseException | None]:
    """Has members start at once: each finds an empty store. Returns what became of them."""
    starting = [asyncio.create_task(member.start()) for member in members]
    return await asyncio.wait_for(asyncio.gather(*starting, return_exceptions=True), PATIENCE)


async def attempt(member: Member, secret: str) -> Held | Exception:
    try:
        return await member.issue(join_token=secret)
    except JoinTokenInvalid as error:
        return error


class TestFounding:
    """Who comes first founds."""

    async def test_one_founds_and_the_other_opens_what_it_made(self, crowd: Crowd) -> None:
        both = [crowd.member(), crowd.member()]
        assert await starts(both) == [None, None]
        assert sorted(member.identity.founded for member in both) == [False, True]
        assert both[0].identity.root_fingerprint == both[1].identity.root_fingerprint
        assert len(both[0].identity.view.authorities) == 1
        for one, other in (both, both[::-1]):
            held = await one.join()
            await crowd.level()
            other.caller(held)

    async def test_with_one_key_file_for_all(self, crowd: Crowd) -> None:
        members = [crowd.member(config=crowd.config) for _ in range(4)]
        assert await starts(members) == [None] * 4
        assert sum(member.identity.founded for member in members) == 1
        assert sorted(os.listdir(crowd.config.dir)) == [KEY_FILE, "operator"]
        for member in members:
            await member.restart()

    async def test_a_member_with_a_key_file_of_its_own_is_told_what_it_needs(self, crowd: Crowd) -> None:
        apart = [
            crowd.member(config=msgspec.structs.replace(crowd.config, dir=str(crowd.path / name)))
            for name in ("one", "other")
        ]
        first, second = await starts(apart)
        error = first or second
        assert isinstance(error, ConfigError)
        assert (first is None) != (second is None)
        assert "every member on this store needs a copy of the encryption.key of the one that founded" in str(error)
        founder, late = apart if first is None else apart[::-1]
        assert founder.identity.founded
        shutil.copy(f"{founder.config.dir}/{KEY_FILE}", late.config.dir)
        await late.start()
        assert not late.identity.founded

    async def test_another_passphrase_is_told_too(self, crowd: Crowd) -> None:
        await crowd.started(1)
        other = crowd.member(config=crowd.config)
        with pytest.raises(
            ConfigError, match=r"encrypted with a passphrase; every member on this store needs the same"
        ):
            await other.start()

    async def test_another_authority_is_begun_with_once(self, crowd: Crowd) -> None:
        root = authority()
        upstream = Upstream(crowd.path / "upstream")
        upstream.write([authority("issuing", root)], [root])
        await crowd.started(1)
        more = [crowd.member() for _ in range(2)]
        for member in more:
            member.config = upstream.named_in(member.config)
        assert await starts(more) == [None, None]
        await crowd.level()
        assert len(more[0].trusted) == 2


class TestTokens:
    """A use is counted wherever it is made."""

    @pytest.mark.parametrize(("uses", "attempts"), [(1, 1), (1, 3), (5, 4), (60, 40)])
    async def test_no_more_get_a_certificate_than_it_has_uses(self, crowd: Crowd, uses: int, attempts: int) -> None:
        members = await crowd.started(3)
        secret = await members[0].token(max_uses=uses)
        await crowd.level()
        for member in members:
            member.shared.shut()
        trying = [asyncio.create_task(attempt(member, secret)) for member in members for _ in range(attempts)]
        for member in members:
            await member.shared.arrived()
            member.shared.open()
        outcomes = await asyncio.gather(*trying)
        assert sum(isinstance(outcome, Held) for outcome in outcomes) == min(uses, 3 * attempts)
        assert all("was used" in str(outcome) for outcome in outcomes if not isinstance(outcome, Held))
        await crowd.level()
        assert all(not member.identity.tokens._reserved for member in members)

    async def test_one_that_another_member_has_deleted_is_used_no_more(self, crowd: Crowd) -> None:
        here, there = await crowd.started()
        secret = await here.token(max_uses=9)
        await crowd.level()
        there.shared.fall_behind()
        (token,) = here.identity.view.tokens
        await here.identity.tokens.delete(f"{names.TOKEN_NAME}{token}")
        late = asyncio.create_task(attempt(there, secret))
        await there.turns()
        there.shared.catch_up()
        assert "was deleted" in str(await late)
        await crowd.level()
        assert not there.identity.view.tokens


class TestRevoked:
    """What one member revokes, all refuse."""

    async def test_an_identity_and_a_serial_number(self, crowd: Crowd) -> None:
        here, there = await crowd.started()
        web, api = await here.join(WEB), await there.join(API)
        await crowd.level()
        for member in (here, there):
            for held in (web, api):
                member.caller(held)
        await here.identity.records.revoke_identity(WEB, cause="", actor="")
        await there.identity.records.revoke_serial(api.serial, cause="", actor="")
        await crowd.level()
        for member in (here, there):
            for held in (web, api):
                with pytest.raises(CredentialRevoked):
                    member.caller(held)

    @pytest.mark.parametrize("by", ["identity", "serial"])
    async def test_nobody_renews_at_a_member_that_has_not_seen_it(self, crowd: Crowd, by: str) -> None:
        here, there = await crowd.started()
        held = await here.join()
        await crowd.level()
        there.shared.fall_behind()
        caller = there.caller(held)
        if by == "identity":
            await here.identity.records.revoke_identity(WEB, cause="", actor="")
        else:
            await here.identity.records.revoke_serial(held.serial, cause="", actor="")
        there.clock.advance(5)
        renewing = asyncio.create_task(there.issue(WEB, caller=caller))
        await there.turns()
        there.shared.catch_up()
        with pytest.raises(CredentialRevoked):
            await renewing

    async def test_a_node_that_was_revoked_has_nothing_issued_for_others(self, crowd: Crowd) -> None:
        here, there = await crowd.started()
        node = await here.join(NODE, delegated=[WEB])
        await crowd.level()
        there.shared.fall_behind()
        caller = there.caller(node)
        await here.identity.records.revoke_identity(NODE, cause="", actor="")
        asking = asyncio.create_task(there.issue(WEB, caller=caller))
        await there.turns()
        there.shared.catch_up()
        with pytest.raises(CredentialRevoked):
            await asking

    @pytest.mark.parametrize("ahead", [0.001, 60.0])
    async def test_what_another_member_issued_just_before_is_revoked_too(self, crowd: Crowd, ahead: float) -> None:
        here, there = await crowd.started(ahead=ahead)
        secret = await there.token(max_uses=2)
        await crowd.level()
        here.shared.fall_behind()
        held = await there.issue(join_token=secret)
        revoking = asyncio.create_task(here.identity.records.revoke_identity(WEB, cause="", actor=""))
        await here.turns()
        here.shared.catch_up()
        assert await revoking == 1
        await crowd.level()
        for member in (here, there):
            with pytest.raises(CredentialRevoked):
                member.caller(held)
        assert there.record(held.serial).HasField("revoke_time")
        fresh = await here.issue(join_token=secret)  # by the member whose clock is behind
        await crowd.level()
        for member in (here, there):
            member.caller(fresh)

    async def test_two_revocations_leave_the_later_one(self, crowd: Crowd) -> None:
        here, there = await crowd.started(ahead=60)
        held = await there.join()
        await crowd.level()
        for member in (here, there):
            member.shared.shut()
        revoking = [
            asyncio.create_task(member.identity.records.revoke_identity(WEB, cause="", actor=""))
            for member in (there, here)
        ]
        for member in (there, here):
            await member.shared.arrived()
            member.shared.open()
        await asyncio.gather(*revoking)
        await crowd.level()
        revocation = here.identity.view.revoked_identities[WEB].value
        assert revocation.revoke_time.ToNanoseconds() >= there.clock.time_ns()
        with pytest.raises(CredentialRevoked):
            here.caller(held)

    async def test_a_revocation_that_is_renewed_is_not_swept(self, crowd: Crowd) -> None:
        here, there = await crowd.started()
        await here.identity.records.revoke_identity(WEB, cause="", actor="")
        await crowd.level()
        for member in (here, there):
            member.clock.advance(100_000)
        here.shared.fall_behind()
        sweeping = asyncio.create_task(here.identity.records.sweep(before_ns=here.clock.time_ns()))
        await there.identity.records.revoke_identity(WEB, cause="again", actor="")
        await here.turns()
        here.shared.catch_up()
        await sweeping
        await crowd.level()
        assert here.identity.view.revoked_identities[WEB].value.cause == "again"


async def test_a_member_calls_another_with_its_own_certificate(crowd: Crowd) -> None:
    here, there = await crowd.started()
    shown = here.identity.member.read()
    caller = there.identity.callers.by_certificate(shown.chain, shown.chain)
    assert caller.identity == here.identity.member_identity
    assert caller.identity.kind == "member"


async def test_records_that_another_member_has_swept_are_forgotten_here(crowd: Crowd) -> None:
    here, there = await crowd.started()
    await there.join(ttl=60)
    await crowd.level()
    for member in (here, there):
        member.clock.advance(61 + member.config.record_retention)
    there.identity._upkeep.here()
    queued = len(there.identity.view._expiries)
    await here.identity._upkeep.once()
    await crowd.level()
    there.identity._upkeep.here()
    assert len(there.identity.view._expiries) < queued


async def test_a_deposed_member_keeps_nothing_up(crowd: Crowd) -> None:
    here, there = await crowd.started()
    await crowd.depose()
    for member in (here, there):
        member.clock.advance(member.config.intermediate_ttl * 0.6)
    before = here.identity._opened.keyring.issuing().issuer
    with pytest.raises(Conflict):
        await here.identity._upkeep.once()
    with pytest.raises(NotOwner):
        await there.identity._upkeep.once()
    assert here.identity._opened.keyring.issuing().issuer == before
    await crowd.give_duties(there)
    await there.until(lambda: there.identity._opened.keyring.issuing().issuer != before)
