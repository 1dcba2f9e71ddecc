"""Which endpoints of a service one caller may use, how near each is, and which share of the calls it gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HEALTH_STATE_DRAINING, HEALTH_STATE_SERVING
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.traffic_policy_pb2 import (
    LB_POLICY_RANDOM,
    LB_POLICY_ROUND_ROBIN,
    LB_POLICY_UNSPECIFIED,
    TrafficPolicy,
)

from sira_client.balancing import slow_start, tiers
from sira_client.balancing.rendezvous import digest, draw

DEFAULT_WEIGHT = 100
SCALE = 1000
"""Candidate.weight for each unit of Endpoint.weight, where nothing else bears on it."""
MAX_TOTAL_WEIGHT = (1 << 32) - 1
"""The weights of a list add up to this at most, as Envoy asks of a cluster."""

_IGNORE_WEIGHT = frozenset({LB_POLICY_UNSPECIFIED, LB_POLICY_ROUND_ROBIN, LB_POLICY_RANDOM})


@dataclass(slots=True)
class Candidate:
    """An endpoint that one caller may use.

    Attributes:
        endpoint: as registered.
        weight: the endpoint should get weight / (sum of all weights) of the caller's calls, whatever the policy. It
            is the endpoint's own weight (100 for all where the policy ignores weights) times slow start times SCALE,
            scaled so that each tier has its share of the total. 0 only for one that should get no call now: it
            is farther away than the calls need to go.
        priority: 0 for the caller's own zone, 1 for its region, 2 for elsewhere; 0 where locality is ignored.
    """

    endpoint: Endpoint
    weight: int
    priority: int


def select(
    endpoints: Iterable[Endpoint],
    policy: TrafficPolicy,
    *,
    locality: Locality | None,
    client_id: str,
    now_ns: int,
) -> list[Candidate]:
    """Chooses the endpoints of a service that one caller may use.

    1. Of several endpoints at one first address and port, the one registered last speaks for it: the others are what
       an earlier process there left behind.
    2. Only endpoints that are SERVING. One whose lease is suspect stays if the kernel probes it itself; if not,
       it is used only when there is nothing better.
    3. With locality failover and a caller whose locality is known, tiers by nearness share the calls (see tiers).
    4. With a subset size and a client id, each tier is cut to its places, by rendezvous hashing of the client id: the
       same client gets the same endpoints, one that falls ill is replaced by the next in its ranking, and clients
       spread evenly.
    5. Weights, with slow start (see slow_start).

    Args:
        endpoints: all of the service, in any order. The result depends on the order only in ties.
        policy: the service's.
        locality: the caller's; None or empty means unknown, and locality is ignored.
        client_id: any string that stays the same; empty means no subsetting.
        now_ns: Unix nanoseconds, for slow start.

    Returns:
        The candidates by tier, the nearest first. Empty if nothing is usable.
    """
    present = _newest_at_each_address(endpoints)
    if locality is not None and policy.HasField("locality_failover") and (locality.region or locality.zone):
        by_tier, shares = _in_tiers(present, locality, policy.locality_failover.threshold or tiers.DEFAULT_THRESHOLD)
    else:
        by_tier, shares = [_usable(present)], [1.0]
    if not any(by_tier):
        return []
    if policy.subset_size and client_id:
        by_tier = _subset(by_tier, shares, policy.subset_size, client_id)
    return _weigh(by_tier, shares, policy, now_ns)


def _newest_at_each_address(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Keeps the endpoint with the latest create_time at each address and port; the greater name where that is equal."""
    newest: dict[tuple[str, int], Endpoint] = {}
    for endpoint in endpoints:
        addresses = endpoint.addresses
        where = (addresses[0] if addresses else endpoint.name, endpoint.port)
        known = newest.setdefault(where, endpoint)
        if known is not endpoint and _age(endpoint) > _age(known):
            newest[where] = endpoint
    return list(newest.values())


def _age(endpoint: Endpoint) -> tuple[int, int, str]:
    created = endpoint.create_time
    return created.seconds, created.nanos, endpoint.name


def _usable(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The endpoints that take calls: those that are vouched for, or else those that nobody speaks against."""
    vouched: list[Endpoint] = []
    unvouched: list[Endpoint] = []
    for endpoint in endpoints:
        status = endpoint.status
        if status.state == HEALTH_STATE_SERVING:
            (unvouched if status.suspect and not _probed(endpoint) else vouched).append(endpoint)
    return vouched or unvouched


def _in_tiers(
    present: Sequence[Endpoint], locality: Locality, threshold: float
) -> tuple[list[list[Endpoint]], list[float]]:
    """The usable endpoints by nearness to the caller, and the share of calls that each tier gets."""
    region, zone = locality.region, locality.zone
    registered: list[list[Endpoint]] = [[] for _ in range(tiers.TIERS)]
    for endpoint in present:
        registered[tiers.tier(region, zone, endpoint.locality)].append(endpoint)
    usable = {id(endpoint) for endpoint in _usable(present)}
    by_tier = [[e for e in tier if id(e) in usable] for tier in registered]
    staying = [sum(e.status.state != HEALTH_STATE_DRAINING for e in tier) for tier in registered]
    return by_tier, tiers.shares([len(tier) for tier in by_tier], staying, threshold)


def _probed(endpoint: Endpoint) -> bool:
    """Whether the kernel itself checks the endpoint, so that SERVING is more than its own word."""
    return endpoint.health_check.WhichOneof("kind") in {"grpc", "http", "tcp"}


def _subset(
    by_tier: Sequence[list[Endpoint]], shares: Sequence[float], size: int, client_id: str
) -> list[list[Endpoint]]:
    """Cuts each tier to the places it has in the client's subset, the client's favourites first."""
    places = tiers.allot(size, shares, [len(tier) for tier in by_tier])
    key = digest(client_id)
    return [
        tier if len(tier) <= count else sorted(tier, key=lambda e: draw(key, digest(e.name), 1.0))[:count]
        for tier, count in zip(by_tier, places, strict=True)
    ]


def _weigh(
    by_tier: Sequence[list[Endpoint]], shares: Sequence[float], policy: TrafficPolicy, now_ns: int
) -> list[Candidate]:
    """Turns endpoints into candidates whose weights add up, by tier, to the tiers' shares of the calls."""
    own = [_own_weights(tier, policy, now_ns) for tier in by_tier]
    sums = [sum(weights) for weights in own]
    active = sum(total for total, share in zip(sums, shares, strict=True) if share)
    # Rounding up to 1 may add up to 1 for each: the total must stay within bounds with that, too.
    scale = min(SCALE, (MAX_TOTAL_WEIGHT - sum(map(len, own))) / active)
    result: list[Candidate] = []
    for priority, (tier, weights) in enumerate(zip(by_tier, own, strict=True)):
        factor = scale * shares[priority] * active / sums[priority] if tier else 0.0
        for endpoint, weight in zip(tier, weights, strict=True):
            result.append(Candidate(endpoint, max(1, round(weight * factor)) if factor else 0, priority))
    return result


def _own_weights(tier: Sequence[Endpoint], policy: TrafficPolicy, now_ns: int) -> list[float]:
    """The weights of a tier's endpoints, before the tiers' shares."""
    if policy.lb_policy in _IGNORE_WEIGHT:
        weights = [float(DEFAULT_WEIGHT)] * len(tier)
    else:
        weights = [float(endpoint.weight or DEFAULT_WEIGHT) for endpoint in tier]
    if slow_start.applies(policy):
        ramp = policy.slow_start
        for i, endpoint in enumerate(tier):
            weights[i] *= slow_start.share(ramp, slow_start.serving_since_ns(endpoint), now_ns)
    return weights
