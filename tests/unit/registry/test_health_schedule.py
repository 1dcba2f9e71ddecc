from __future__ import annotations

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sira_grpc.clock import SystemClock
from sira_grpc.registry.health_schedule import Schedule, loop_call_later
from tests.unit.registry.health_fakes import FakeTime

names = st.sampled_from("abcdef")


class ScheduleMachine(RuleBasedStateMachine):
    """The schedule against a dict of due times."""

    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.fired: list[str] = []
        self.schedule = Schedule(self.fired.append, clock=self.time, call_later=self.time.call_later)
        self.model: dict[str, float] = {}

    @rule(name=names, delay=st.integers(-5, 50))
    def at(self, name: str, delay: int) -> None:
        self.schedule.at(name, self.time.now + delay)
        self.model[name] = self.time.now + delay

    @rule(name=names)
    def cancel(self, name: str) -> None:
        self.schedule.cancel(name)
        self.model.pop(name, None)

    @rule(seconds=st.integers(1, 30))
    def advance(self, seconds: int) -> None:
        self.fired.clear()
        self.time.advance(seconds)
        due = {name for name, at in self.model.items() if at <= self.time.now}
        assert sorted(self.fired) == sorted(due)
        for name in due:
            del self.model[name]

    @invariant()
    def holds_what_is_due(self) -> None:
        assert len(self.schedule) == len(self.model)
        assert self.time.timers <= 1


TestScheduleMachine = ScheduleMachine.TestCase


def make(time: FakeTime) -> tuple[Schedule, list[str]]:
    fired: list[str] = []
    return Schedule(fired.append, clock=time, call_later=time.call_later), fired


def test_fires_in_the_order_of_time() -> None:
    time = FakeTime()
    schedule, fired = make(time)
    for name, delay in (("c", 3), ("a", 1), ("b", 2)):
        schedule.at(name, time.now + delay)
    time.advance(5)
    assert fired == ["a", "b", "c"]


def test_what_is_fired_may_be_scheduled_again_from_there() -> None:
    time = FakeTime()
    fired: list[float] = []

    def again(name: str) -> None:
        fired.append(time.now)
        if len(fired) < 3:
            schedule.at(name, time.now + 1)

    schedule = Schedule(again, clock=time, call_later=time.call_later)
    schedule.at("a", time.now + 1)
    time.advance(10)
    assert len(fired) == 3


def test_names_that_come_and_go_leave_nothing_behind() -> None:
    time = FakeTime()
    schedule, fired = make(time)
    schedule.at("stays", time.now + 10_000)
    for i in range(10_000):
        schedule.at(f"goes-{i}", time.now + 3600)
        schedule.cancel(f"goes-{i}")
    assert schedule.placed < 100
    time.advance(10_000)
    assert fired == ["stays"]


def test_close_forgets_everything() -> None:
    time = FakeTime()
    schedule, fired = make(time)
    schedule.at("a", time.now + 1)
    schedule.close()
    schedule.close()
    time.advance(5)
    assert (fired, len(schedule), time.timers) == ([], 0, 0)


async def test_runs_on_the_event_loop() -> None:
    done = asyncio.Event()
    schedule = Schedule(lambda _: done.set(), clock=SystemClock(), call_later=loop_call_later)
    schedule.at("a", SystemClock().monotonic() + 0.002)
    await done.wait()
    assert len(schedule) == 0
