"""A root is exchanged in stages, each of which waits for everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sira.identity.v1.rotation_pb2 import Rotation, RotationStage

from sira_grpc.errors import Conflict, CredentialInvalid, NoRotation, RotationUnderWay, SiraError, StoreUnavailable
from sira_grpc.identity import rotation
from tests.unit.identity.world import (
    ISSUING,
    MIN_STAGE,
    PUBLISHING,
    RETIRING,
    WATCHERS_BACK,
    Stage,
    Watching,
    World,
)


def described(world: World) -> Rotation:
    found = world.identity.rotator.describe()
    assert found is not None
    return found


async def reach(world: World, stage: Stage) -> tuple[str, str]:
    """Rotates up to a stage. Returns the ids of the authority that goes and of the one that stays."""
    await world.identity.rotator.start()
    found = described(world)
    for forced in (PUBLISHING, ISSUING):
        if forced < stage:
            await world.identity.rotator.advance(forced)
    await own_renewed(world)
    assert world.stage == stage
    return found.from_authority, found.to_authority


async def own_renewed(world: World) -> None:
    """Waits until what the kernel holds itself is of the authority that issues."""
    await world.until(lambda: world.live(world.issuing) >= 2)


async def stays(world: World, stage: Stage) -> None:
    """Makes sure that a stage does not end by itself now."""
    world.identity.rotator.look()
    await world.turns()
    assert world.stage == stage
    assert not world.identity.rotator._ready()


async def goes_on(world: World, stage: Stage | None) -> None:
    """Waits until the stage is another one by itself."""
    world.identity.rotator.look()
    await world.until(lambda: world.stage == stage)


async def test_a_rotation_with_nobody_else(world: World) -> None:
    old = world.issuing
    assert world.identity.rotator.describe() is None
    await world.identity.rotator.start()
    new = described(world).to_authority
    assert world.trusted == [old, new]
    assert world.issuing == old
    await stays(world, PUBLISHING)
    for stage, trusted, issuing in ((ISSUING, [old, new], new), (RETIRING, [new], new), (None, [new], new)):
        await own_renewed(world)
        world.clock.advance(MIN_STAGE)
        await goes_on(world, stage)
        assert (world.trusted, world.issuing) == (trusted, issuing)
        assert (old in world.identity.view.authorities) == (stage is not None)
    status = world.identity.status()
    assert status.last_rotation_time.ToNanoseconds() == world.clock.time_ns()
    assert [authority.id for authority in status.authorities] == [new]
    assert world.identity.trust.bundle().sequence == 3


async def test_it_is_described(world: World) -> None:
    old, new = await reach(world, PUBLISHING)
    watching = world.watch()
    held = await world.join()
    found = described(world)
    assert (found.stage, found.from_authority, found.to_authority) == (PUBLISHING, old, new)
    assert not found.cancelled
    assert found.start_time == found.stage_time
    assert found.earliest_time.ToNanoseconds() == world.clock.time_ns() + MIN_STAGE * 10**9
    assert (found.watchers_pending, found.certificates_pending) == (1, 3)
    world.clock.advance(10)
    await world.identity.rotator.advance(PUBLISHING)
    await own_renewed(world)
    found = described(world)
    assert found.stage_time.ToNanoseconds() == found.start_time.ToNanoseconds() + 10 * 10**9
    assert (found.watchers_pending, found.certificates_pending) == (1, 1)
    await world.renew(held)
    await watching.use()
    found = described(world)
    assert (found.watchers_pending, found.certificates_pending) == (0, 0)
    await watching.leave()


class TestWaits:
    """What each stage waits for."""

    @pytest.mark.parametrize(("stage", "after"), [(PUBLISHING, ISSUING), (ISSUING, RETIRING), (RETIRING, None)])
    async def test_for_those_who_acknowledge(self, world: World, stage: Stage, after: Stage | None) -> None:
        quick, slow, leaving = world.watch(), world.watch(), world.watch()
        for watching in (quick, slow, leaving):
            await watching.use()
        await reach(world, stage)
        world.clock.advance(MIN_STAGE)
        await quick.use()
        await stays(world, stage)
        state = await slow.read()
        await leaving.leave()
        await stays(world, stage)
        slow.watcher.acknowledge(state.revision)
        await goes_on(world, after)

    @pytest.mark.parametrize("stage", [PUBLISHING, ISSUING, RETIRING])
    async def test_for_those_who_come_in_between(self, world: World, stage: Stage) -> None:
        await reach(world, stage)
        late = world.watch()
        world.clock.advance(MIN_STAGE)
        await stays(world, stage)
        await late.leave()
        await goes_on(world, {PUBLISHING: ISSUING, ISSUING: RETIRING, RETIRING: None}[stage])

    async def test_for_those_who_only_read_until_they_have_been_sent_it(self, world: World) -> None:
        reader = world.watch(acknowledges=False)
        await reader.read()
        await reach(world, PUBLISHING)
        world.clock.advance(MIN_STAGE)
        await stays(world, PUBLISHING)
        await reader.read()
        await stays(world, PUBLISHING)
        more = asyncio.create_task(reader.read())  # only now is it known to have got the last one
        await goes_on(world, ISSUING)
        await more
        await reader.leave()

    async def test_for_those_who_cannot_watch(self, world: World) -> None:
        await reach(world, PUBLISHING)
        for seconds in (0, MIN_STAGE - 0.1):
            world.clock.advance(seconds)
            await stays(world, PUBLISHING)
        world.clock.advance(0.1)
        await goes_on(world, ISSUING)

    @pytest.mark.parametrize("end", ["renewed", "revoked", "expired", "identity"])
    async def test_for_the_certificates_of_the_old_one(self, world: World, end: str) -> None:
        held = await world.join()
        await reach(world, ISSUING)
        world.clock.advance(MIN_STAGE)
        await stays(world, ISSUING)
        match end:
            case "renewed":
                await world.renew(held)
            case "revoked":
                await world.identity.records.revoke_serial(held.serial, cause="", actor="")
            case "identity":
                await world.identity.records.revoke_identity(held.record.identity, cause="", actor="")
            case "expired":
                world.clock.advance(3600)
        await goes_on(world, RETIRING)

    async def test_for_nothing_of_the_new_one(self, world: World) -> None:
        await reach(world, ISSUING)
        await world.join()
        world.clock.advance(MIN_STAGE)
        await goes_on(world, RETIRING)

    async def test_after_a_restart_for_watchers_to_come_back(self, world: World) -> None:
        await reach(world, PUBLISHING)
        await world.restart(after=MIN_STAGE)
        await stays(world, PUBLISHING)
        back = world.watch()
        world.clock.advance(WATCHERS_BACK)
        await stays(world, PUBLISHING)
        await back.use()
        await goes_on(world, ISSUING)
        await back.leave()


class TestAdvanced:
    """By hand, without waiting."""

    async def test_a_stage_is_named_so_that_none_is_skipped(self, world: World) -> None:
        rotator = world.identity.rotator
        with pytest.raises(NoRotation):
            await rotator.advance(PUBLISHING)
        await rotator.start()
        for stage in (ISSUING, RETIRING):
            with pytest.raises(RotationUnderWay, match="the rotation is in the stage PUBLISHING") as caught:
                await rotator.advance(stage)
            assert caught.value.metadata == {"stage": "PUBLISHING"}
        for stage, after in ((PUBLISHING, ISSUING), (ISSUING, RETIRING), (RETIRING, None)):
            await rotator.advance(stage)
            assert world.stage == after
            with pytest.raises((RotationUnderWay, NoRotation)):
                await rotator.advance(stage)

    async def test_twice_at_once(self, world: World) -> None:
        await world.identity.rotator.start()
        outcomes = await asyncio.gather(
            *(world.identity.rotator.advance(PUBLISHING) for _ in range(2)), return_exceptions=True
        )
        assert [type(one) for one in outcomes if one is not None] == [RotationUnderWay]
        assert world.stage == ISSUING

    async def test_who_has_not_followed_is_refused(self, world: World) -> None:
        held = await world.join()
        await reach(world, RETIRING)
        with pytest.raises(CredentialInvalid):
            world.caller(held)


class TestCancelled:
    """Turned back."""

    async def test_nothing(self, world: World) -> None:
        with pytest.raises(NoRotation, match="no rotation is under way"):
            await world.identity.rotator.cancel()

    async def test_while_it_is_published_the_new_one_goes_at_once(self, world: World) -> None:
        held = await world.join()
        old, new = await reach(world, PUBLISHING)
        await world.identity.rotator.cancel()
        assert world.stage is None
        assert (world.trusted, world.issuing) == ([old], old)
        assert list(world.identity.view.authorities) == [old]
        assert world.identity.trust.bundle().sequence == 3
        world.caller(held)
        await world.identity.rotator.start()
        assert new not in world.trusted

    async def test_while_it_issues_the_two_change_places(self, world: World) -> None:
        old, new = await reach(world, ISSUING)
        held = await world.join()
        assert held.record.authority == new
        await world.identity.rotator.cancel()
        found = described(world)
        assert (found.stage, found.from_authority, found.to_authority, found.cancelled) == (ISSUING, new, old, True)
        assert world.issuing == old
        assert set(world.trusted) == {old, new}
        await own_renewed(world)
        world.clock.advance(MIN_STAGE)
        await stays(world, ISSUING)
        await world.renew(held)
        await goes_on(world, RETIRING)
        assert world.trusted == [old]
        world.clock.advance(MIN_STAGE)
        await goes_on(world, None)
        assert list(world.identity.view.authorities) == [old]

    async def test_while_the_old_one_retires_it_is_published_again_first(self, world: World) -> None:
        watching = world.watch()
        await watching.use()
        old, new = await reach(world, RETIRING)
        held = await world.join()
        await world.identity.rotator.cancel()
        found = described(world)
        assert (found.stage, found.from_authority, found.to_authority, found.cancelled) == (PUBLISHING, new, old, True)
        assert (world.trusted, world.issuing) == ([new, old], new)
        world.clock.advance(MIN_STAGE)
        await stays(world, PUBLISHING)
        await watching.use()
        await goes_on(world, ISSUING)
        await own_renewed(world)
        assert world.issuing == old
        await world.renew(held)
        await watching.use()
        world.clock.advance(MIN_STAGE)
        await goes_on(world, RETIRING)
        assert world.trusted == [old]
        await watching.leave()

    @pytest.mark.parametrize("stage", [ISSUING, RETIRING])
    async def test_twice_is_forward_again(self, world: World, stage: Stage) -> None:
        _, new = await reach(world, stage)
        await world.identity.rotator.cancel()
        await world.identity.rotator.cancel()
        if stage == RETIRING:  # it was published again only: that is undone
            assert world.stage is None
            assert list(world.identity.view.authorities) == [new]
        else:
            found = described(world)
            assert (found.stage, found.to_authority, found.cancelled) == (ISSUING, new, False)
        assert world.issuing == new


async def test_there_is_one_at_a_time(world: World) -> None:
    outcomes = await asyncio.gather(*(world.identity.rotator.start() for _ in range(4)), return_exceptions=True)
    refused = [one for one in outcomes if one is not None]
    assert {type(one) for one in refused} == {RotationUnderWay}
    assert len(refused) == 3
    assert len(world.identity.view.authorities) == 2
    for stage in (PUBLISHING, ISSUING, RETIRING):
        with pytest.raises(RotationUnderWay) as caught:
            await world.identity.rotator.start()
        assert caught.value.metadata == {"stage": RotationStage.Name(stage).removeprefix("ROTATION_STAGE_")}
        await world.identity.rotator.advance(stage)


@pytest.mark.parametrize("stage", [PUBLISHING, ISSUING, RETIRING])
async def test_a_restart_changes_nothing(world: World, stage: Stage) -> None:
    old, new = await reach(world, stage)
    before = described(world)
    trusted, issuing, sequence = world.trusted, world.issuing, world.identity.trust.bundle().sequence
    for _ in range(3):
        await world.restart(after=1)
        found = described(world)
        assert (found.stage, found.stage_time, found.cancelled) == (before.stage, before.stage_time, False)
        assert (found.from_authority, found.to_authority) == (old, new)
        assert (world.trusted, world.issuing, world.identity.trust.bundle().sequence) == (trusted, issuing, sequence)
    world.clock.advance(MIN_STAGE + WATCHERS_BACK)
    await goes_on(world, {PUBLISHING: ISSUING, ISSUING: RETIRING, RETIRING: None}[stage])


Command = Callable[[World], Awaitable[None]]
COMMANDS: dict[str, Command] = {
    "start": lambda world: world.identity.rotator.start(),
    "advance": lambda world: world.identity.rotator.advance(PUBLISHING),
    "cancel": lambda world: world.identity.rotator.cancel(),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("error", [StoreUnavailable("full"), Conflict("other")])
async def test_what_cannot_be_written_has_not_happened(world: World, command: str, error: SiraError) -> None:
    if command != "start":
        await world.identity.rotator.start()
    before = described(world) if world.stage else None
    trusted = world.trusted
    world.store.failures += [error] * 8
    with pytest.raises(type(error)):
        await COMMANDS[command](world)
    assert world.identity.rotator.describe() == before
    assert world.trusted == trusted
    world.store.failures.clear()
    await COMMANDS[command](world)


async def test_a_stage_that_cannot_be_written_ends_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "RETRY_SECONDS", 0.01)
    await world.identity.rotator.start()
    world.store.failures += [StoreUnavailable("full")] * 2
    world.clock.advance(MIN_STAGE)
    await goes_on(world, ISSUING)
    assert not world.store.failures
    assert not world.identity.failed.is_set()


async def test_a_rotation_with_two_hundred_watchers(world: World) -> None:
    watchers = [world.watch() for _ in range(200)]
    held = [await world.join() for _ in range(50)]
    for watching in watchers:
        await watching.use()
    old = world.issuing
    await world.identity.rotator.start()

    async def follow(watching: Watching) -> None:
        bundles = []
        while world.stage is not None:
            state = await watching.use()
            bundles.append(len(state.bundle.x509_authorities))
            if len(bundles) > 2:
                return

    following = [asyncio.create_task(follow(watching)) for watching in watchers]
    for stage in (ISSUING, RETIRING, None):
        if stage == RETIRING:
            held = [await world.renew(one) for one in held]
            await own_renewed(world)
        await world.turns(5)
        world.clock.advance(MIN_STAGE)
        await goes_on(world, stage)
        for one in held:
            world.caller(one)
    await asyncio.gather(*following)
    assert old not in world.identity.view.authorities
    for watching in watchers:
        await watching.leave()
