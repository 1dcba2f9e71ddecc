"""The order in which one caller should try its candidates, as Resolve answers it for each policy."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import log
from random import Random
from statistics import median_low

from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.traffic_policy_pb2 import (
    LB_POLICY_LEAST_REQUEST,
    LB_POLICY_ORCA_WEIGHTED,
    LB_POLICY_RANDOM,
    LB_POLICY_RING_HASH,
    LB_POLICY_WEIGHTED,
    TrafficPolicy,
)

from sira_client.balancing.candidates import Candidate
from sira_client.balancing.rendezvous import Rendezvous

Ranking = Callable[[list[Candidate]], list[Candidate]]

_GOLDEN = (5**0.5 - 1) / 2


def order(
    candidates: Sequence[Candidate],
    policy: TrafficPolicy,
    *,
    hash_key: str,
    turn: int,
    random: Random,
    loads: Mapping[str, EndpointLoad],
) -> list[Candidate]:
    """Orders candidates as the caller should try them.

    Where several tiers have a share of the calls, the first tier is drawn by share; the others follow by nearness.
    Within a tier:

    - round robin: begins at `turn`, goes round. While weights differ, by slow start, begins at each in proportion.
    - weighted and random: at random, the first in proportion to weight, and so on among the rest. So is ORCA-weighted:
      what endpoints tell with their answers only their callers know.
    - least request: by (requests in flight + 1) / weight as reported, least first, as Envoy weighs it; then by reported
      utilization; then at random. An endpoint without a report counts as the median of its peers', 0 if none has one.
    - ring hash: by rendezvous hashing of the key (see rendezvous).

    Args:
        candidates: what select answered.
        policy: the service's.
        hash_key: for ring hash; empty means a random one.
        turn: how many times the service was resolved before, for round robin.
        random: where chance comes from.
        loads: recent reports by endpoint name.
    """
    if not candidates:
        return []
    match policy.lb_policy:
        case p if p in {LB_POLICY_WEIGHTED, LB_POLICY_RANDOM, LB_POLICY_ORCA_WEIGHTED}:
            return _in_tiers(candidates, lambda tier: _weighted(tier, random), random)
        case p if p == LB_POLICY_LEAST_REQUEST:
            return _in_tiers(candidates, lambda tier: _least_request(tier, random, loads), random)
        case p if p == LB_POLICY_RING_HASH:
            return _ring_hash(candidates, hash_key or f"{random.getrandbits(64):x}")
        case _:
            return _in_tiers(candidates, lambda tier: _round_robin(tier, turn), random)


def _in_tiers(candidates: Sequence[Candidate], rank: Ranking, random: Random) -> list[Candidate]:
    """Ranks each tier, the one that is drawn by its share of the weight first, the others by nearness."""
    if candidates[0].priority == candidates[-1].priority:
        return rank(list(candidates))
    tiers: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        tiers.setdefault(candidate.priority, []).append(candidate)
    nearness = sorted(tiers)
    bounds = list(accumulate(sum(c.weight for c in tiers[priority]) for priority in nearness))
    first = nearness[min(bisect_right(bounds, random.random() * bounds[-1]), len(nearness) - 1)]
    result = rank(tiers[first])
    for priority in nearness:
        if priority != first:
            result += rank(tiers[priority])
    return result


def _round_robin(tier: list[Candidate], turn: int) -> list[Candidate]:
    """Rotates a tier. Over many turns each comes first in proportion to its weight.

    With equal weights that is plain rotation. Otherwise the starting points are multiples of the golden ratio on the
    line of all weights, which fall evenly on it however many there are (Knuth, TAOCP vol. 3, section 6.4).
    """
    weight = tier[0].weight
    if all(c.weight == weight for c in tier):
        start = turn % len(tier)
    else:
        bounds = list(accumulate(c.weight for c in tier))
        start = min(bisect_right(bounds, turn * _GOLDEN % 1.0 * bounds[-1]), len(tier) - 1)
    return tier[start:] + tier[:start]


def _weighted(tier: list[Candidate], random: Random) -> list[Candidate]:
    """Shuffles a tier by weight: weighted sampling without replacement.

    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006), in its exponential form.
    """
    chance = random.random
    drawn = [(-log(1.0 - chance()) / (c.weight or 1), i) for i, c in enumerate(tier)]
    drawn.sort()
    return [tier[i] for _, i in drawn]


def _least_request(tier: list[Candidate], random: Random, loads: Mapping[str, EndpointLoad]) -> list[Candidate]:
    """Sorts a tier by reported load for the weight."""
    known = [loads.get(c.endpoint.name) for c in tier]
    reported = [load for load in known if load is not None]
    usual = EndpointLoad()
    if reported:
        usual.in_flight = median_low(load.in_flight for load in reported)
        usual.utilization = median_low(load.utilization for load in reported)
    ranked = []
    for i, (candidate, report) in enumerate(zip(tier, known, strict=True)):
        load = usual if report is None else report
        ranked.append(((load.in_flight + 1) / (candidate.weight or 1), load.utilization, random.random(), i))
    ranked.sort()
    return [tier[i] for _, _, _, i in ranked]


def _ring_hash(candidates: Sequence[Candidate], key: str) -> list[Candidate]:
    """The candidate that the key belongs to, of whichever tier; then its tier in the key's order, then the others."""
    ranked = [candidates[i] for i in Rendezvous([(c.endpoint.name, c.weight) for c in candidates]).order(key)]
    first = ranked[0].priority
    ranked.sort(key=lambda c: -1 if c.priority == first else c.priority)
    return ranked
