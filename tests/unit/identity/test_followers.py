"""A rotation waits for those who watch at any member, and goes on when one of the members is gone."""

from __future__ import annotations

import pytest

from sira_grpc.errors import StoreUnavailable
from sira_grpc.identity.followers import LOOK_SECONDS, RECONNECT_SECONDS
from sira_grpc.identity.members import ROTATION
from tests.unit.identity.crowd import Crowd, Member
from tests.unit.identity.world import ISSUING, MIN_STAGE, PUBLISHING, RETIRING, Stage, World


async def begun(crowd: Crowd, by: Member) -> None:
    """Has a rotation begin, and its first stage last long enough."""
    await by.identity.rotator.start()
    await crowd.level()
    crowd.passes(MIN_STAGE)


async def goes_on(crowd: Crowd, stage: Stage | None) -> None:
    """Waits until a rotation is in another stage by itself."""
    for member in crowd.members:
        if member.runs:
            await member.until(lambda member=member: member.stage == stage)  # type: ignore[misc]  # the default binds it


async def told(crowd: Crowd, of: Member, pending: int) -> None:
    """Waits until everybody has been told how many at a member have not followed."""

    def known(member: Member) -> bool:
        stored, rotation = member.identity.view.followers.get(of.name), member.identity.view.rotation
        assert rotation is not None
        return stored is not None and (stored.value.revision, stored.value.pending) == (rotation.revision, pending)

    for member in crowd.members:
        if member.runs:
            await member.until(lambda member=member: known(member))  # type: ignore[misc]  # the default binds it


async def stays(member: Member, stage: Stage) -> None:
    """Makes sure that a stage does not end by itself now."""
    member.identity.rotator.look()
    await member.turns()
    assert member.stage == stage
    assert not member.identity.rotator._ready()


async def test_with_nobody_who_watches_all_members_go_through_it(crowd: Crowd) -> None:
    here, there = await crowd.started()
    old = here.issuing
    await begun(crowd, there)
    await goes_on(crowd, ISSUING)
    new = here.issuing
    for member in (here, there):
        await member.until(lambda: here.live(new) >= 2)
    crowd.passes(MIN_STAGE)
    await goes_on(crowd, RETIRING)
    crowd.passes(MIN_STAGE)
    await goes_on(crowd, None)
    for member in (here, there):
        assert (member.trusted, member.issuing) == ([new], new)
        assert old not in member.identity.view.authorities
        await member.until(lambda member=member: member.identity.member._newest == new)  # type: ignore[misc]  # as above
        member.identity.callers.by_certificate(*[member.identity.member.read().chain] * 2)


async def test_it_waits_for_who_watches_at_another_member(crowd: Crowd) -> None:
    here, there = await crowd.started()
    watching = there.watch()
    await watching.use()
    await begun(crowd, here)
    await told(crowd, there, 1)
    await stays(here, PUBLISHING)
    for member in (here, there):
        described = member.identity.rotator.describe()
        assert described is not None
        assert described.watchers_pending == 1
    await watching.use()
    await goes_on(crowd, ISSUING)
    await watching.leave()


async def test_it_waits_for_a_member_that_has_not_spoken(crowd: Crowd) -> None:
    here, there = await crowd.started()
    there.shared.fall_behind()
    await here.identity.rotator.start()
    await here.identity.view.caught_up(crowd.store.revision)
    crowd.passes(MIN_STAGE)
    await stays(here, PUBLISHING)
    there.shared.catch_up()
    await goes_on(crowd, ISSUING)


async def test_it_waits_for_what_another_member_holds_itself(crowd: Crowd) -> None:
    here, there = await crowd.started()
    await begun(crowd, here)
    await goes_on(crowd, ISSUING)
    there.shared.failures += [StoreUnavailable("full")] * 2  # it cannot renew for now
    rotation = here.identity.view.rotation
    assert rotation is not None
    there.identity._followers.outdated = lambda: 2
    await told(crowd, there, 2)
    crowd.passes(MIN_STAGE)
    await stays(here, ISSUING)


async def test_who_watched_at_a_member_that_is_gone_is_waited_for_elsewhere(crowd: Crowd) -> None:
    here, there, third = await crowd.started(3)
    watching = there.watch()
    await watching.use()
    await begun(crowd, here)
    await told(crowd, there, 1)
    await stays(here, PUBLISHING)
    there.shared.shut()  # as one that was killed, it writes nothing more
    crowd.goes(there)
    await stays(here, PUBLISHING)
    back = third.watch()  # without having acknowledged
    await back.read()
    await told(crowd, third, 2)  # it, and those who may come yet
    crowd.passes(RECONNECT_SECONDS + LOOK_SECONDS)
    await told(crowd, third, 1)
    await stays(here, PUBLISHING)
    await back.leave()
    await goes_on(crowd, ISSUING)
    await watching.leave()


async def test_another_member_has_it_go_on_when_the_first_has_lost_the_duty(crowd: Crowd) -> None:
    here, there = await crowd.started()
    watching = here.watch()
    await watching.use()
    await begun(crowd, here)
    await told(crowd, here, 1)
    await crowd.depose()
    await watching.use()  # all have followed; but what this one writes is not its own to write any more
    await here.turns()
    assert here.stage == PUBLISHING
    await here.duties.lost(ROTATION)
    await crowd.give_duties(there)
    await goes_on(crowd, ISSUING)
    await watching.leave()


async def test_a_member_that_leaves_is_waited_for_no_more(crowd: Crowd) -> None:
    here, there = await crowd.started()
    assert set(here.identity.view.followers) == {"m0", "m1"}
    await there.stop()
    await crowd.level()
    assert set(here.identity.view.followers) == {"m0"}
    await begun(crowd, here)
    await goes_on(crowd, ISSUING)


async def test_one_that_was_killed_is_forgotten_at_the_second_look(crowd: Crowd) -> None:
    here, there = await crowd.started()
    there.shared.shut()
    crowd.goes(there)
    await here.identity._followers.sweep()
    assert set(here.identity.view.followers) == {"m0", "m1"}
    await here.identity._followers.sweep()
    assert set(here.identity.view.followers) == {"m0"}
    crowd.live.add(there.name)  # it was only slow
    there.shared.open()
    await here.identity.rotator.start()
    await here.until(lambda: set(here.identity.view.followers) == {"m0", "m1"})


async def test_what_cannot_be_told_is_told_later(crowd: Crowd, caplog: pytest.LogCaptureFixture) -> None:
    here, there = await crowd.started()
    there.shared.failures.append(StoreUnavailable("full"))
    await begun(crowd, here)
    await told(crowd, there, 0)
    assert "others cannot be told who has followed the rotation" in caplog.text


async def test_alone_nothing_is_written_for_others(world: World) -> None:
    await world.identity.rotator.start()
    assert not world.identity.view.followers
