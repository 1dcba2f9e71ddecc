from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.traffic_policy_pb2 import (
    LB_POLICY_LEAST_REQUEST,
    LB_POLICY_ORCA_WEIGHTED,
    LB_POLICY_RING_HASH,
    LB_POLICY_ROUND_ROBIN,
    LbPolicy,
    TrafficPolicy,
)
from sira_client.balancing import Candidate, Picker, make_picker, order

from tests.unit.client.balancing.strategies import candidates, name, policies, serving


def picker(
    found: list[Candidate], policy: LbPolicy.ValueType, *, seed: int = 1, in_flight: Mapping[str, int] | None = None
) -> Picker:
    load: Mapping[str, int] = {} if in_flight is None else in_flight
    return make_picker(found, TrafficPolicy(lb_policy=policy), random=Random(seed), in_flight=load)


def of_weights(*weights: int, priority: int = 0, start: int = 0) -> list[Candidate]:
    return [Candidate(serving(start + i), weight, priority) for i, weight in enumerate(weights)]


def picks(found: list[Candidate], policy: LbPolicy.ValueType, rounds: int = 4000) -> Counter[str]:
    chosen = picker(found, policy)
    return Counter(chosen.pick(f"key-{i}").endpoint.name for i in range(rounds))


@given(candidates(), policies, st.text(), st.integers())
def test_whoever_is_picked_has_a_weight(
    found: list[Candidate], policy: LbPolicy.ValueType, key: str, seed: int
) -> None:
    chosen = picker(found, policy, seed=seed)
    assert all(chosen.pick(key).weight for _ in range(20))


@pytest.mark.parametrize("policy", [policy for policy in LbPolicy.values() if policy != LB_POLICY_ORCA_WEIGHTED])
def test_calls_fall_in_proportion_to_weight(policy: LbPolicy.ValueType) -> None:
    found = [*of_weights(1000, 3000), *of_weights(500, 1500, priority=1, start=2), *of_weights(0, priority=2, start=4)]
    counts = picks(found, policy)
    for candidate in found:
        share = candidate.weight / 6000
        # Five standard deviations of a binomial; chance is seeded, so this holds always or never.
        assert abs(counts[candidate.endpoint.name] - 4000 * share) <= 5 * (4000 * share * (1 - share)) ** 0.5


def test_reported_load_stands_in_for_weight() -> None:
    found, load = of_weights(1000, 3000, 1000), {name(0): 3.0, name(1): 1.0}
    policy = TrafficPolicy(lb_policy=LB_POLICY_ORCA_WEIGHTED)
    chosen = make_picker(found, policy, random=Random(1), in_flight={}, load_weights=load)
    counts = Counter(chosen.pick("").endpoint.name for _ in range(600))
    assert {each: round(count / 100) for each, count in counts.items()} == {name(0): 3, name(1): 1, name(2): 2}
    alike = Counter(picks(found, LB_POLICY_ORCA_WEIGHTED, 600))
    assert set(alike.values()) == {200}


@pytest.mark.parametrize("policy", LbPolicy.values())
def test_a_tier_without_a_share_stands_in_when_it_is_all_there_is(policy: LbPolicy.ValueType) -> None:
    found = [*of_weights(0, 0, priority=1), *of_weights(0, priority=2, start=2)]
    counts = picks(found, policy, 400)
    assert set(counts) == {name(0), name(1)}


@pytest.mark.parametrize("policy", LbPolicy.values())
def test_nobody_to_pick_is_an_error(policy: LbPolicy.ValueType) -> None:
    with pytest.raises(ValueError, match="candidates"):
        picker([], policy)


@given(st.integers(1, 9), st.integers())
def test_round_robin_visits_each_once_a_round(count: int, seed: int) -> None:
    chosen = picker(of_weights(*[7] * count), LB_POLICY_ROUND_ROBIN, seed=seed)
    for _ in range(3):
        assert len({chosen.pick("").endpoint.name for _ in range(count)}) == count


@given(st.lists(st.integers(1, 20), min_size=2, max_size=6), st.integers())
def test_weighted_round_robin_is_never_off_by_much(weights: list[int], seed: int) -> None:
    found = of_weights(*weights)
    chosen = picker(found, LB_POLICY_ROUND_ROBIN, seed=seed)
    rounds = sum(weights) * 5
    counts = Counter(chosen.pick("").endpoint.name for _ in range(rounds))
    assert all(abs(counts[c.endpoint.name] - 5 * c.weight) <= 2 for c in found)


def test_least_request_takes_the_less_loaded_of_two() -> None:
    in_flight = {name(0): 5, name(1): 1}
    chosen = picker(of_weights(100, 100), LB_POLICY_LEAST_REQUEST, in_flight=in_flight)
    assert {chosen.pick("").endpoint.name for _ in range(50)} == {name(1)}
    in_flight[name(0)] = 0
    assert {chosen.pick("").endpoint.name for _ in range(50)} == {name(0)}


def test_least_request_weighs_the_load() -> None:
    in_flight = {name(0): 3, name(1): 2}
    chosen = picker(of_weights(200, 100), LB_POLICY_LEAST_REQUEST, in_flight=in_flight)
    assert {chosen.pick("").endpoint.name for _ in range(50)} == {name(0)}


def test_least_request_never_takes_the_most_loaded_of_three() -> None:
    in_flight = {name(0): 9, name(1): 1, name(2): 0}
    chosen = picker(of_weights(100, 100, 100), LB_POLICY_LEAST_REQUEST, in_flight=in_flight)
    assert {chosen.pick("").endpoint.name for _ in range(300)} == {name(1), name(2)}


@given(candidates(), st.text(min_size=1))
def test_ring_hash_picks_whom_resolve_puts_first(found: list[Candidate], key: str) -> None:
    policy = TrafficPolicy(lb_policy=LB_POLICY_RING_HASH)
    first = order(found, policy, hash_key=key, turn=0, random=Random(1), loads={})[0]
    assert picker(found, LB_POLICY_RING_HASH).pick(key).endpoint.name == first.endpoint.name


def test_ring_hash_without_a_key_takes_a_random_one() -> None:
    chosen = picker(of_weights(100, 100), LB_POLICY_RING_HASH)
    assert len({chosen.pick("").endpoint.name for _ in range(50)}) == 2
