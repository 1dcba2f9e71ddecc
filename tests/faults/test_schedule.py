"""A seed says which faults come when."""

from __future__ import annotations

from itertools import pairwise

from tests.faults.schedule import WEIGHTS, Fault, schedule


def test_the_same_seed_gives_the_same_faults() -> None:
    assert schedule(7, 300) == schedule(7, 300)
    assert schedule(7, 300) != schedule(8, 300)


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    short = schedule(7, 60)
    assert schedule(7, 600)[: len(short)] == short


def test_faults_come_one_at_a_time_and_are_over_before_the_end() -> None:
    for seed in range(50):
        steps = schedule(seed, 120)
        assert all(before.at + before.seconds <= after.at + 0.011 for before, after in pairwise(steps))
        assert all(step.at + step.seconds <= 120.01 and step.seconds > 0 for step in steps)


def test_every_fault_comes() -> None:
    assert {step.fault for step in schedule(1, 10_000)} == set(Fault) == set(WEIGHTS)
