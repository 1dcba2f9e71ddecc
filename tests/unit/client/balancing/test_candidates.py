from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HealthState, TtlCheck
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.traffic_policy_pb2 import (
    LB_POLICY_RING_HASH,
    LB_POLICY_ROUND_ROBIN,
    LB_POLICY_WEIGHTED,
    LocalityFailover,
    SlowStart,
    TrafficPolicy,
)
from sira_client.balancing import Candidate, select
from sira_client.balancing.candidates import MAX_TOTAL_WEIGHT

from tests.unit.client.balancing.strategies import NOW_NS, endpoints, localities, serving, traffic_policies


def choose(
    found: list[Endpoint], policy: TrafficPolicy | None = None, *, locality: Locality | None = None, client_id: str = ""
) -> list[Candidate]:
    return select(found, policy or TrafficPolicy(), locality=locality, client_id=client_id, now_ns=NOW_NS)


def names(chosen: list[Candidate]) -> set[str]:
    return {c.endpoint.name.rpartition("/")[2] for c in chosen}


any_locality = st.none() | localities()


@given(endpoints(), traffic_policies(), any_locality, st.sampled_from(["", "me"]))
def test_only_serving_endpoints_one_at_each_address(
    found: list[Endpoint], policy: TrafficPolicy, locality: Locality | None, client_id: str
) -> None:
    chosen = choose(found, policy, locality=locality, client_id=client_id)
    assert all(c.endpoint.status.state == HealthState.HEALTH_STATE_SERVING for c in chosen)
    addresses = [c.endpoint.addresses[0] for c in chosen]
    assert len(set(addresses)) == len(addresses)
    if policy.subset_size and client_id:
        assert len(chosen) <= policy.subset_size


@given(endpoints(), traffic_policies(), any_locality)
def test_weights_are_positive_somewhere_and_within_bounds(
    found: list[Endpoint], policy: TrafficPolicy, locality: Locality | None
) -> None:
    chosen = choose(found, policy, locality=locality)
    total = sum(c.weight for c in chosen)
    assert 0 <= total <= MAX_TOTAL_WEIGHT
    assert bool(total) == bool(chosen)
    assert [c.priority for c in chosen] == sorted(c.priority for c in chosen)
    if not policy.HasField("locality_failover"):
        assert all(c.priority == 0 and c.weight for c in chosen)


@given(endpoints(), traffic_policies(), any_locality)
def test_the_order_of_the_endpoints_does_not_matter(
    found: list[Endpoint], policy: TrafficPolicy, locality: Locality | None
) -> None:
    one = choose(found, policy, locality=locality, client_id="me")
    other = choose(found[::-1], policy, locality=locality, client_id="me")
    assert sorted((c.endpoint.name, c.weight) for c in one) == sorted((c.endpoint.name, c.weight) for c in other)


def test_weights_are_proportional_where_the_policy_heeds_them() -> None:
    found = [serving(1, weight=1), serving(2, weight=0), serving(3, weight=10_000)]
    weighted = choose(found, TrafficPolicy(lb_policy=LB_POLICY_WEIGHTED))
    assert [c.weight for c in weighted] == [1_000, 100_000, 10_000_000]
    alike = choose(found, TrafficPolicy(lb_policy=LB_POLICY_ROUND_ROBIN))
    assert [c.weight for c in alike] == [100_000] * 3


def test_many_heavy_endpoints_stay_within_the_bound() -> None:
    found = [serving(i, weight=10_000) for i in range(1000)]
    chosen = choose(found, TrafficPolicy(lb_policy=LB_POLICY_WEIGHTED))
    assert sum(c.weight for c in chosen) <= MAX_TOTAL_WEIGHT
    assert len({c.weight for c in chosen}) == 1


def suspect(number: int, check: HealthCheck | None) -> Endpoint:
    endpoint = serving(number)
    endpoint.status.suspect = True
    if check is not None:
        endpoint.health_check.CopyFrom(check)
    return endpoint


def test_a_suspect_endpoint_stays_if_the_kernel_probes_it() -> None:
    found = [
        serving(1),
        suspect(2, HealthCheck(grpc=GrpcCheck())),
        suspect(3, HealthCheck(ttl=TtlCheck())),
        suspect(4, None),
    ]
    assert names(choose(found)) == {"e1", "e2"}


def test_a_suspect_endpoint_without_a_probe_is_used_when_there_is_nothing_better() -> None:
    found = [suspect(1, None), suspect(2, HealthCheck(ttl=TtlCheck()))]
    assert names(choose(found)) == {"e1", "e2"}


def test_the_endpoint_registered_last_speaks_for_its_address() -> None:
    old, new = serving(1), serving(2)
    new.addresses[0] = old.addresses[0]
    old.create_time.seconds, new.create_time.seconds = 1, 2
    assert names(choose([new, old])) == {"e2"}
    new.status.state = HealthState.HEALTH_STATE_DRAINING
    assert names(choose([old, new])) == set()


def test_endpoints_at_one_address_with_different_ports_are_two() -> None:
    one, two = serving(1), serving(2)
    two.addresses[0] = one.addresses[0]
    two.port += 1
    assert names(choose([one, two])) == {"e1", "e2"}


def zones(healthy: dict[str, int], sick: dict[str, int]) -> list[Endpoint]:
    """Endpoints by `region/zone`, so many healthy and so many not."""
    result: list[Endpoint] = []
    for counts, state in (
        (healthy, HealthState.HEALTH_STATE_SERVING),
        (sick, HealthState.HEALTH_STATE_NOT_SERVING),
    ):
        for place, count in counts.items():
            region, _, zone = place.partition("/")
            for _ in range(count):
                endpoint = serving(len(result), region=region, zone=zone)
                endpoint.status.state = state
                result.append(endpoint)
    return result


NEAR = TrafficPolicy(locality_failover=LocalityFailover())
HERE = Locality(region="eu", zone="a")


def load_by_tier(chosen: list[Candidate]) -> dict[int, float]:
    total = sum(c.weight for c in chosen)
    loads: Counter[int] = Counter()
    for c in chosen:
        loads[c.priority] += c.weight
    return {tier: weight / total for tier, weight in loads.items()}


def test_calls_stay_in_the_zone_while_enough_of_it_is_healthy() -> None:
    chosen = choose(zones({"eu/a": 7, "eu/b": 5, "us/a": 5}, {"eu/a": 3}), NEAR, locality=HERE)
    assert load_by_tier(chosen) == {0: 1.0, 1: 0.0, 2: 0.0}


def test_calls_spill_to_the_next_tier_under_the_threshold() -> None:
    chosen = choose(zones({"eu/a": 35, "eu/b": 5, "us/a": 5}, {"eu/a": 65}), NEAR, locality=HERE)
    assert load_by_tier(chosen) == pytest.approx({0: 0.5, 1: 0.5, 2: 0.0}, rel=1e-4)


def test_a_draining_endpoint_does_not_count_against_its_tier() -> None:
    found = zones({"eu/a": 2, "eu/b": 2}, {"eu/a": 8})
    for endpoint in found:
        if endpoint.status.state == HealthState.HEALTH_STATE_NOT_SERVING:
            endpoint.status.state = HealthState.HEALTH_STATE_DRAINING
    assert load_by_tier(choose(found, NEAR, locality=HERE)) == {0: 1.0, 1: 0.0}


@pytest.mark.parametrize("locality", [None, Locality()])
def test_an_unknown_caller_uses_all_alike(locality: Locality | None) -> None:
    chosen = choose(zones({"eu/a": 2, "us/a": 3}, {}), NEAR, locality=locality)
    assert {(c.priority, c.weight) for c in chosen} == {(0, 100_000)}


def subset_policy(size: int) -> TrafficPolicy:
    return TrafficPolicy(subset_size=size)


def test_a_client_keeps_its_subset_and_a_sick_endpoint_is_replaced_alone() -> None:
    found = [serving(i) for i in range(50)]
    before = names(choose(found, subset_policy(10), client_id="me"))
    assert before == names(choose(found, subset_policy(10), client_id="me"))
    assert len(before) == 10
    ill = next(e for e in found if e.name.endswith("/" + min(before)))
    ill.status.state = HealthState.HEALTH_STATE_NOT_SERVING
    after = names(choose(found, subset_policy(10), client_id="me"))
    assert before - after == {min(before)}
    assert len(after) == 10


def test_subsets_spread_evenly_over_clients() -> None:
    found = [serving(i) for i in range(20)]
    counts: Counter[str] = Counter()
    for client in range(1000):
        counts.update(names(choose(found, subset_policy(5), client_id=f"client-{client}")))
    # 250 expected, standard deviation 13.7; the hash is fixed, so this holds always or never.
    assert all(abs(counts[f"e{i}"] - 250) < 55 for i in range(20))


def test_without_a_client_id_there_is_no_subset() -> None:
    assert len(choose([serving(i) for i in range(20)], subset_policy(5))) == 20


def test_a_subset_prefers_the_nearest_and_covers_each_tier_that_takes_calls() -> None:
    near = TrafficPolicy(locality_failover=LocalityFailover(), subset_size=4)
    all_well = choose(zones({"eu/a": 6, "eu/b": 6}, {}), near, locality=HERE, client_id="me")
    assert [c.priority for c in all_well] == [0, 0, 0, 0]
    half_well = choose(zones({"eu/a": 5, "eu/b": 6}, {"eu/a": 5}), near, locality=HERE, client_id="me")
    assert [c.priority for c in half_well] == [0, 0, 0, 1]
    assert load_by_tier(half_well) == pytest.approx({0: 5 / 7, 1: 2 / 7}, rel=1e-4)


def test_a_cold_endpoint_gets_its_share_of_the_ramp() -> None:
    policy = TrafficPolicy(slow_start=SlowStart())
    policy.slow_start.window.seconds = 10
    cold, warm = serving(1), serving(2)
    cold.status.serving_time.FromNanoseconds(NOW_NS - 4 * 10**9)
    assert [c.weight for c in choose([cold, warm], policy)] == [40_000, 100_000]
    policy.lb_policy = LB_POLICY_RING_HASH
    assert [c.weight for c in choose([cold, warm], policy)] == [100_000, 100_000]
