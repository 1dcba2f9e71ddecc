"""Pickers: which candidate each single call of a channel goes to, for each policy.

All of them give each candidate calls in proportion to its weight as long as nothing else speaks for another: least
request goes by what is in flight, ring hash by the key.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from types import MappingProxyType
from typing import Protocol

from sira.registry.v1.traffic_policy_pb2 import (
    LB_POLICY_LEAST_REQUEST,
    LB_POLICY_ORCA_WEIGHTED,
    LB_POLICY_RANDOM,
    LB_POLICY_RING_HASH,
    LB_POLICY_WEIGHTED,
    TrafficPolicy,
)

from sira_client.balancing.candidates import Candidate
from sira_client.balancing.orca import by_load
from sira_client.balancing.rendezvous import Rendezvous


class Picker(Protocol):
    """Picks a candidate for each call. Never blocks."""

    def pick(self, hash_key: str) -> Candidate:
        """Picks the candidate of one call.

        Args:
            hash_key: the key of the call, for ring hash; empty means a random one. The others ignore it.
        """


def make_picker(
    candidates: Sequence[Candidate],
    policy: TrafficPolicy,
    *,
    random: Random,
    in_flight: Mapping[str, int],
    load_weights: Mapping[str, float] = MappingProxyType({}),
) -> Picker:
    """Makes the picker of a policy over candidates that are connected.

    Candidates of weight 0 are used only when there are no others: then the nearest of them, all alike.

    Args:
        candidates: what select answered, or those of it that are connected.
        policy: the service's.
        random: where chance comes from.
        in_flight: calls under way by endpoint name, as they are at each pick; read by least request.
        load_weights: what each endpoint can take by its reports, by endpoint name; read once by ORCA-weighted.

    Raises:
        ValueError: there are no candidates.
    """
    if not candidates:
        raise ValueError("candidates: must not be empty")
    live = [c for c in candidates if c.weight] or _nearest(candidates)
    match policy.lb_policy:
        case p if p in {LB_POLICY_WEIGHTED, LB_POLICY_RANDOM}:
            return WeightedPicker(live, random)
        case p if p == LB_POLICY_LEAST_REQUEST:
            return LeastRequestPicker(live, random, in_flight)
        case p if p == LB_POLICY_RING_HASH:
            return RingHashPicker(live, random)
        case p if p == LB_POLICY_ORCA_WEIGHTED:
            return WeightedRoundRobinPicker(by_load(live, load_weights), random)
        case _:
            weight = live[0].weight
            if all(c.weight == weight for c in live):
                return RoundRobinPicker(live, random)
            return WeightedRoundRobinPicker(live, random)


def _nearest(candidates: Sequence[Candidate]) -> list[Candidate]:
    nearest = min(c.priority for c in candidates)
    return [Candidate(c.endpoint, 1, c.priority) for c in candidates if c.priority == nearest]


class RoundRobinPicker:
    """Each in turn, beginning anywhere so that clients that start together do not go in step."""

    def __init__(self, candidates: Sequence[Candidate], random: Random) -> None:
        self._candidates = candidates
        self._next = random.randrange(len(candidates))

    def pick(self, hash_key: str) -> Candidate:
        """See Picker."""
        candidate = self._candidates[self._next]
        self._next = (self._next + 1) % len(self._candidates)
        return candidate


class WeightedRoundRobinPicker:
    """Each as often as its weight says, evenly spaced: earliest deadline first, due 1 / weight after its last pick.

    Source: the EDF scheduler of Envoy's load balancers, after Liu and Layland, "Scheduling algorithms for
    multiprogramming in a hard-real-time environment" (1973). A pick takes O(log n).
    """

    def __init__(self, candidates: Sequence[Candidate], random: Random) -> None:
        self._candidates = candidates
        self._due = [(random.random() / c.weight, i) for i, c in enumerate(candidates)]
        heapq.heapify(self._due)

    def pick(self, hash_key: str) -> Candidate:
        """See Picker."""
        due, i = self._due[0]
        candidate = self._candidates[i]
        heapq.heapreplace(self._due, (due + 1 / candidate.weight, i))
        return candidate


class WeightedPicker:
    """At random in proportion to weight: a point on the line of all weights. A pick takes O(log n)."""

    def __init__(self, candidates: Sequence[Candidate], random: Random) -> None:
        self._candidates = candidates
        self._bounds = list(accumulate(c.weight for c in candidates))
        self._random = random

    def pick(self, hash_key: str) -> Candidate:
        """See Picker."""
        return self._candidates[bisect_right(self._bounds, self._random.randrange(self._bounds[-1]))]


class LeastRequestPicker:
    """Of two drawn at random by weight from one tier, the one with fewer calls in flight for its weight.

    Source: Mitzenmacher, "The power of two choices in randomized load balancing" (2001), as in Envoy and gRPC's
    least_request. Both are drawn by weight, and a tie goes to the first, so that an idle service is shared by weight;
    both are of one tier, so that tiers keep their shares.
    """

    def __init__(self, candidates: Sequence[Candidate], random: Random, in_flight: Mapping[str, int]) -> None:
        self._candidates = sorted(candidates, key=lambda c: c.priority)
        self._bounds = [0, *accumulate(c.weight for c in self._candidates)]
        self._random = random
        self._in_flight = in_flight
        self._tiers: dict[int, tuple[int, int]] = {}
        for i, candidate in enumerate(self._candidates):
            low, _ = self._tiers.get(candidate.priority, (self._bounds[i], 0))
            self._tiers[candidate.priority] = low, self._bounds[i + 1]

    def pick(self, hash_key: str) -> Candidate:
        """See Picker."""
        bounds = self._bounds
        i = bisect_right(bounds, self._random.randrange(bounds[-1])) - 1
        first = self._candidates[i]
        low, high = self._tiers[first.priority]
        if high - low == first.weight:
            return first
        point = low + self._random.randrange(high - low - first.weight)
        if point >= bounds[i]:  # leave the first one's stretch of the line out
            point += first.weight
        second = self._candidates[bisect_right(bounds, point) - 1]
        load = self._in_flight
        if load.get(second.endpoint.name, 0) * first.weight < load.get(first.endpoint.name, 0) * second.weight:
            return second
        return first


class RingHashPicker:
    """By rendezvous hashing of the call's key. A pick takes O(n)."""

    def __init__(self, candidates: Sequence[Candidate], random: Random) -> None:
        self._candidates = candidates
        self._hashing = Rendezvous([(c.endpoint.name, c.weight) for c in candidates])
        self._random = random

    def pick(self, hash_key: str) -> Candidate:
        """See Picker."""
        return self._candidates[self._hashing.pick(hash_key or f"{self._random.getrandbits(64):x}")]
