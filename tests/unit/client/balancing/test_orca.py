from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira_client.balancing import Candidate
from sira_client.balancing.orca import BLACKOUT_NS, EXPIRATION_NS, LoadWeights, by_load
from sira_client.balancing.orca_report import LoadReport, decode

from tests.unit.client.balancing.strategies import NOW_NS, candidates, name, serving


def weighted(*weights: int, priority: int = 0, start: int = 0) -> list[Candidate]:
    return [Candidate(serving(number), weight, priority) for number, weight in enumerate(weights, start)]


def shares(found: list[Candidate]) -> dict[str, float]:
    total = sum(c.weight for c in found)
    return {c.endpoint.name: round(c.weight / total, 3) for c in found}


def test_a_weight_is_what_an_endpoint_serves_over_its_utilization() -> None:
    weights = LoadWeights()
    weights.report("a", LoadReport(0.5, 100, 0), NOW_NS)
    weights.report("b", LoadReport(0.5, 100, 50), NOW_NS)
    assert weights.current(NOW_NS + BLACKOUT_NS) == {"a": 200, "b": 100}


def test_a_weight_counts_after_the_blackout_and_until_it_expires() -> None:
    weights = LoadWeights()
    weights.report("a", LoadReport(0.5, 100, 0), NOW_NS)
    assert weights.current(NOW_NS + BLACKOUT_NS - 1) == {}
    weights.report("a", LoadReport(0.5, 200, 0), NOW_NS + 1)
    assert weights.current(NOW_NS + BLACKOUT_NS) == {"a": 400}
    assert weights.current(NOW_NS + EXPIRATION_NS) == {"a": 400}
    assert weights.current(NOW_NS + 1 + EXPIRATION_NS) == {}
    weights.report("a", LoadReport(0.5, 100, 0), NOW_NS + 1 + EXPIRATION_NS)
    assert weights.current(NOW_NS + 1 + EXPIRATION_NS) == {}, "it begins anew, with a blackout"


@pytest.mark.parametrize(
    "load",
    [LoadReport(0, 1, 0), LoadReport(1, 0, 0), LoadReport(nan, 1, 0), LoadReport(1, inf, 0), LoadReport(-1, 5, 0)],
)
def test_a_report_that_says_nothing_changes_nothing(load: LoadReport) -> None:
    weights = LoadWeights()
    weights.report("a", LoadReport(0.5, 100, 0), NOW_NS)
    weights.report("a", load, NOW_NS + 1)
    assert weights.current(NOW_NS + BLACKOUT_NS) == {"a": 200}


def test_who_is_gone_is_forgotten() -> None:
    weights = LoadWeights()
    for each in ("a", "b"):
        weights.report(each, LoadReport(0.5, 100, 0), NOW_NS)
    weights.keep(frozenset({"b", "c"}))
    assert weights.current(NOW_NS + BLACKOUT_NS) == {"b": 200}


def test_calls_go_by_load_and_not_by_registered_weight() -> None:
    found = by_load(weighted(1, 1000, 10), {name(0): 300, name(1): 100})
    assert shares(found) == {name(0): 0.5, name(1): 0.167, name(2): 0.333}


@pytest.mark.parametrize("weights", [{}, {name(0): 300.0}])
def test_with_fewer_than_two_reports_all_get_the_same(weights: dict[str, float]) -> None:
    assert set(shares(by_load(weighted(1, 1000), weights)).values()) == {0.5}


def test_tiers_keep_their_shares() -> None:
    found = [*weighted(100, 200), *weighted(100, priority=1, start=2)]
    assert shares(by_load(found, {name(0): 3, name(1): 1})) == {name(0): 0.562, name(1): 0.188, name(2): 0.25}


@given(candidates(), st.dictionaries(st.integers(0, 7).map(name), st.floats(1e-6, 1e6)))
def test_whatever_is_reported_everybody_gets_calls(found: list[Candidate], weights: dict[str, float]) -> None:
    live = [c for c in found if c.weight]
    spread = by_load(live, weights)
    assert {c.endpoint.name for c in spread} == {c.endpoint.name for c in live}
    assert all(c.weight >= 1 for c in spread)


def test_a_report_on_the_wire() -> None:
    cpu, rps = "09000000000000e03f", "1807"
    others = "11cdccccccccccec3f220c0a016111000000000000f03f420c0a0162110000000000000040"
    assert decode(bytes.fromhex(cpu + rps + others)) == LoadReport(0.5, 7, 0)
    application, rps_fractional, eps = "49000000000000d03f", "310000000000000440", "39000000000000f83f"
    every = decode(bytes.fromhex(cpu + rps + others + rps_fractional + eps + application))
    assert every == LoadReport(0.25, 2.5, 1.5)
    assert decode(b"") == LoadReport(0, 0, 0)
    assert decode(b"\xff\xff") is None
