from __future__ import annotations

import asyncio

import pytest

from sira_grpc.registry import expiry
from sira_grpc.registry.lease_time import LeaseTime
from sira_grpc.registry.store_pulse import RETURN_SECONDS, StorePulse
from sira_grpc.registry.view import RegistryView
from sira_grpc.store import Commit
from tests.clocks import FakeClock
from tests.unit.registry.world import World

QUIET = 2.0


class Pulse:
    """A pulse over a view that is fed by hand."""

    def __init__(self, clock: FakeClock, *, quiet: float | None = QUIET) -> None:
        self.clock = clock
        self.view = RegistryView(clock)
        self.time = LeaseTime(clock)
        self.pulse = StorePulse(self.view, clock, self.time.lose, quiet=quiet)
        self._began = self.time.now()

    def beat(self) -> None:
        self.view.apply(Commit(self.view.revision + 1, ()))

    @property
    def passed(self) -> float:
        """The time that counts for leases so far."""
        return self.time.now() - self._began


def test_time_counts_while_the_store_takes_writes(clock: FakeClock) -> None:
    pulse = Pulse(clock)
    for _ in range(10):
        clock.advance(QUIET)
        pulse.beat()
        assert pulse.pulse.felt()
        assert not pulse.pulse.felt()
    assert pulse.passed == 10 * QUIET


@pytest.mark.parametrize("stall", [QUIET + 1, 60.0])
def test_a_stall_does_not_count_and_there_is_time_to_come_back(clock: FakeClock, stall: float) -> None:
    pulse = Pulse(clock)
    pulse.beat()
    assert pulse.pulse.felt()
    clock.advance(stall)
    assert not pulse.pulse.felt()
    pulse.beat()
    assert pulse.pulse.felt()
    assert pulse.passed == -min(stall, RETURN_SECONDS)


@pytest.mark.parametrize("view_first", [True, False])
def test_what_is_slept_counts_once(clock: FakeClock, *, view_first: bool) -> None:
    pulse = Pulse(clock)
    pulse.beat()
    clock.advance(60)
    if view_first:
        pulse.beat()
        pulse.pulse.slept(60)
        assert pulse.passed == -RETURN_SECONDS
    else:
        pulse.pulse.slept(60)
        pulse.beat()
        assert pulse.passed == 0


def test_a_store_that_is_not_shared_may_be_quiet(clock: FakeClock) -> None:
    pulse = Pulse(clock, quiet=None)
    clock.advance(1000)
    assert pulse.pulse.felt()
    pulse.beat()
    assert pulse.passed == 1000
    pulse.pulse.slept(100)
    assert pulse.passed == 900


async def test_a_sweep_that_comes_late_tells_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(expiry, "STOPPED_SECONDS", 0.0)
    told = asyncio.Event()
    monkeypatch.setattr(world.registry.expiry._pulse, "slept", lambda seconds: told.set())
    task = asyncio.create_task(world.registry.expiry.run())
    await told.wait()  # no sleep is over on time to the last nanosecond
    task.cancel()
    await asyncio.wait([task])
