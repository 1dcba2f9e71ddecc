from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.traffic_policy_pb2 import (
    LB_POLICY_LEAST_REQUEST,
    LB_POLICY_RANDOM,
    LB_POLICY_RING_HASH,
    LB_POLICY_ROUND_ROBIN,
    LB_POLICY_UNSPECIFIED,
    LB_POLICY_WEIGHTED,
    LbPolicy,
    TrafficPolicy,
)
from sira_client.balancing import Candidate, order

from tests.unit.client.balancing.strategies import candidates, name, policies, serving

Loads = dict[str, EndpointLoad]


def ordered(
    found: list[Candidate],
    policy: LbPolicy.ValueType,
    random: Random,
    *,
    turn: int = 0,
    hash_key: str = "",
    loads: Loads | None = None,
) -> list[int]:
    """The numbers of the endpoints in the order of the answer."""
    traffic_policy = TrafficPolicy(lb_policy=policy)
    result = order(found, traffic_policy, hash_key=hash_key, turn=turn, random=random, loads=loads or {})
    return [int(c.endpoint.name.rpartition("/e")[2]) for c in result]


def of_weights(*weights: int, priority: int = 0, start: int = 0) -> list[Candidate]:
    return [Candidate(serving(start + i), weight, priority) for i, weight in enumerate(weights)]


def firsts(found: list[Candidate], policy: LbPolicy.ValueType, rounds: int = 3000) -> Counter[int]:
    """How often each endpoint comes first."""
    random = Random(7)
    return Counter(ordered(found, policy, random, turn=turn, hash_key=f"key-{turn}")[0] for turn in range(rounds))


def assert_proportional(counts: Counter[int], found: list[Candidate]) -> None:
    """Each count is within five standard deviations; chance is seeded, so this holds always or never."""
    total, rounds = sum(c.weight for c in found), counts.total()
    for i, candidate in enumerate(found):
        share = candidate.weight / total
        assert abs(counts[i] - rounds * share) <= 5 * (rounds * share * (1 - share)) ** 0.5 + 1


@given(candidates(), policies, st.integers(0, 10**9), st.text(), st.integers())
def test_everyone_is_there_once_and_the_tiers_after_the_first_follow_by_nearness(
    found: list[Candidate], policy: LbPolicy.ValueType, turn: int, key: str, seed: int
) -> None:
    result = ordered(found, policy, Random(seed), turn=turn, hash_key=key)
    assert sorted(result) == list(range(len(found)))
    tiers = [found[i].priority for i in result]
    first = tiers[0]
    rest = tiers[tiers.count(first) :]
    assert all(tier == first for tier in tiers[: tiers.count(first)])
    assert rest == sorted(rest)
    assert any(c.weight for c in found if c.priority == first)


@pytest.mark.parametrize("policy", LbPolicy.values())
def test_nobody_is_an_empty_order(policy: LbPolicy.ValueType) -> None:
    assert ordered([], policy, Random(1)) == []


@pytest.mark.parametrize("policy", [LB_POLICY_ROUND_ROBIN, LB_POLICY_WEIGHTED, LB_POLICY_RANDOM, LB_POLICY_RING_HASH])
def test_the_first_comes_in_proportion_to_weight_across_tiers(policy: LbPolicy.ValueType) -> None:
    found = [
        *of_weights(1000, 3000),
        *of_weights(500, 1500, priority=1, start=2),
        *of_weights(0, priority=2, start=4),
    ]
    assert_proportional(firsts(found, policy), found)


@pytest.mark.parametrize("policy", [LB_POLICY_UNSPECIFIED, LB_POLICY_ROUND_ROBIN])
def test_round_robin_rotates_by_turn(policy: LbPolicy.ValueType) -> None:
    found = of_weights(5, 5, 5)
    assert [ordered(found, policy, Random(1), turn=turn) for turn in range(4)] == [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
        [0, 1, 2],
    ]


def test_round_robin_with_slow_start_is_evenly_spaced() -> None:
    found = of_weights(1000, 100)
    turns = [ordered(found, LB_POLICY_ROUND_ROBIN, Random(1), turn=turn)[0] for turn in range(110)]
    assert abs(Counter(turns)[1] - 10) <= 1


def test_weighted_puts_the_rest_in_proportion_too() -> None:
    found = of_weights(100_000, 1000, 3000)
    random = Random(3)
    seconds: Counter[int] = Counter()
    for _ in range(3000):
        first, second, _third = ordered(found, LB_POLICY_WEIGHTED, random)
        if first == 0:
            seconds[second - 1] += 1
    assert_proportional(seconds, found[1:])


def reports(**in_flight: int) -> Loads:
    return {name(int(key[1:])): EndpointLoad(name=name(int(key[1:])), in_flight=n) for key, n in in_flight.items()}


def test_least_request_goes_by_load_for_the_weight() -> None:
    found = of_weights(100, 100, 400)
    loads = reports(e0=2, e1=0, e2=5)  # 3/100, 1/100, 6/400
    assert ordered(found, LB_POLICY_LEAST_REQUEST, Random(1), loads=loads) == [1, 2, 0]


def test_least_request_takes_an_endpoint_without_a_report_for_a_usual_one() -> None:
    found = of_weights(100, 100, 100, 100)
    loads = reports(e0=9, e1=1, e2=5)
    assert ordered(found, LB_POLICY_LEAST_REQUEST, Random(1), loads=loads) in ([1, 2, 3, 0], [1, 3, 2, 0])


def test_least_request_breaks_ties_by_utilization() -> None:
    found = of_weights(100, 100, 100)
    loads = reports(e0=1, e1=1, e2=1)
    for i, utilization in enumerate((0.5, 0.9, 0.1)):
        loads[name(i)].utilization = utilization
    assert ordered(found, LB_POLICY_LEAST_REQUEST, Random(1), loads=loads) == [2, 0, 1]


def test_least_request_breaks_what_is_left_at_random() -> None:
    found = of_weights(100, 100)
    assert_proportional(firsts(found, LB_POLICY_LEAST_REQUEST), found)


def test_ring_hash_is_the_same_for_the_same_key() -> None:
    found = of_weights(100, 200, 300)
    assert ordered(found, LB_POLICY_RING_HASH, Random(1), hash_key="k", turn=1) == ordered(
        found, LB_POLICY_RING_HASH, Random(2), hash_key="k", turn=2
    )


def test_ring_hash_without_a_key_takes_a_random_one() -> None:
    found = of_weights(100, 100)
    random = Random(1)
    assert {ordered(found, LB_POLICY_RING_HASH, random)[0] for _ in range(50)} == {0, 1}
