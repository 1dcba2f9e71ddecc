from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.health_check_pb2 import HealthCheck, HealthState

from sira_grpc.registry.health_thresholds import Thresholds
from tests.unit.registry.health_fakes import NOT_SERVING, SERVING, STARTING, UNKNOWN

states = st.sampled_from([SERVING, NOT_SERVING, UNKNOWN])
answers = st.lists(st.tuples(states, st.booleans()), max_size=40)


@pytest.mark.parametrize("answer", [SERVING, NOT_SERVING, UNKNOWN])
@pytest.mark.parametrize("known", [STARTING, HealthState.HEALTH_STATE_UNSPECIFIED, HealthState.HEALTH_STATE_DRAINING])
def test_the_first_answer_counts_at_once(known: HealthState.ValueType, answer: HealthState.ValueType) -> None:
    thresholds = Thresholds(rise=5, fall=5, state=known)
    assert thresholds.take(answer)
    assert thresholds.state == answer


def test_it_takes_fall_consecutive_failures_to_fall() -> None:
    thresholds = Thresholds(rise=1, fall=3, state=SERVING)
    changes = [thresholds.take(s) for s in (NOT_SERVING, NOT_SERVING, SERVING, NOT_SERVING, NOT_SERVING, NOT_SERVING)]
    assert changes == [False, False, False, False, False, True]
    assert thresholds.state == NOT_SERVING


def test_it_takes_rise_consecutive_good_answers_to_rise() -> None:
    thresholds = Thresholds(rise=2, fall=3, state=NOT_SERVING)
    assert [thresholds.take(s) for s in (SERVING, NOT_SERVING, SERVING, SERVING)] == [False, False, False, True]


def test_at_once_needs_no_run() -> None:
    thresholds = Thresholds(rise=9, fall=9, state=SERVING)
    assert thresholds.take(NOT_SERVING, at_once=True)
    assert thresholds.take(SERVING, at_once=True)


def test_defaults_are_those_of_the_proto() -> None:
    thresholds = Thresholds.of(HealthCheck(), SERVING)
    assert [thresholds.take(NOT_SERVING) for _ in range(3)] == [False, False, True]
    assert thresholds.take(SERVING)


def test_the_check_sets_the_thresholds() -> None:
    thresholds = Thresholds.of(HealthCheck(rise=2, fall=1), SERVING)
    assert thresholds.take(NOT_SERVING)
    assert [thresholds.take(SERVING) for _ in range(2)] == [False, True]


@dataclass
class Model:
    """The rule, from the whole history: the last answers, as many as are needed, all say the same."""

    rise: int
    fall: int
    state: HealthState.ValueType
    since: list[HealthState.ValueType]

    def take(self, answer: HealthState.ValueType, *, at_once: bool) -> bool:
        self.since.append(answer)
        if answer == self.state:
            return False
        needed = 1
        if not at_once and (self.state, answer) == (SERVING, NOT_SERVING):
            needed = self.fall
        if not at_once and (self.state, answer) == (NOT_SERVING, SERVING):
            needed = self.rise
        if self.since[-needed:] != [answer] * needed:
            return False
        self.state, self.since = answer, []
        return True


@given(
    rise=st.integers(1, 4),
    fall=st.integers(1, 4),
    start=st.sampled_from([STARTING, SERVING, NOT_SERVING, UNKNOWN]),
    answers=answers,
)
def test_follows_the_rule(
    rise: int, fall: int, start: HealthState.ValueType, answers: list[tuple[HealthState.ValueType, bool]]
) -> None:
    model = Model(rise, fall, start, [])
    thresholds = Thresholds(rise=rise, fall=fall, state=start)
    for answer, at_once in answers:
        assert thresholds.take(answer, at_once=at_once) == model.take(answer, at_once=at_once)
        assert thresholds.state == model.state
