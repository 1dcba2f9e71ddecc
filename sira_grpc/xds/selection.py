"""Selection: which endpoints of a service a client is sent, how near each is, and which share of the calls it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TrafficPolicy
from sira_client.balancing import select, tiers
from sira_client.balancing.candidates import DEFAULT_WEIGHT

from sira_grpc.xds.http_filters import KEEP_SESSIONS
from sira_grpc.xds.node import Node
from sira_grpc.xds.ramps import ramps, step_ns
from sira_grpc.xds.rows import DRAINING, HEALTHY, UNHEALTHY, Row

_WEIGHTS_COUNT = frozenset(
    {LbPolicy.LB_POLICY_WEIGHTED, LbPolicy.LB_POLICY_LEAST_REQUEST, LbPolicy.LB_POLICY_RING_HASH}
)


@dataclass(slots=True)
class Batch:
    """Endpoints that a client is sent.

    Attributes:
        priority: 0 for those that calls go to first; there are no gaps.
        health: see `envoy.config.core.v3.HealthStatus`.
        rows: the endpoints.
        weights: their shares of the calls of the priority, relative to each other; 0 for those that are to get none.
    """

    priority: int
    health: int
    rows: list[Row]
    weights: list[int]


def weights_count(policy: TrafficPolicy) -> bool:
    """Whether calls are spread by the weights that endpoints are registered with."""
    return policy.lb_policy in _WEIGHTS_COUNT


def choose(rows: Sequence[Row], policy: TrafficPolicy, node: Node, now_ns: int) -> list[Batch]:
    """Chooses the endpoints for a client, as Resolve does (see select in the client's balancing).

    Envoys work out themselves which share each tier gets: they are sent the unhealthy endpoints too. Those that drain
    are sent to clients that keep sessions at them.

    Args:
        rows: of the service, or of a part of it, by name.
        policy: the service's.
        node: the client.
        now_ns: Unix nanoseconds, for the slow start of clients that know none.
    """
    tiered = policy.HasField("locality_failover") and bool(node.region or node.zone)
    if policy.subset_size or (not node.envoy and (tiered or ramps(policy))):
        chosen = _selected(rows, policy, node, now_ns)
    elif tiered:
        chosen = _by_tier(rows, policy, node)
    else:
        usable = _usable(rows)
        chosen = [_healthy(0, usable, policy)]
        if node.envoy:
            chosen.append(_idle(0, UNHEALTHY, _unusable(rows, usable)))
    if policy.HasField("session_affinity") and node.kind in KEEP_SESSIONS:
        chosen.append(_idle(0, DRAINING, [row for row in rows if row.draining]))
    return chosen


def _usable(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.vouched] or [row for row in rows if row.unvouched]


def _unusable(rows: Sequence[Row], usable: Sequence[Row]) -> list[Row]:
    if len(usable) == len(rows):
        return []
    used = {row.where for row in usable}
    return [row for row in rows if row.where not in used and not row.draining]


def _healthy(priority: int, rows: list[Row], policy: TrafficPolicy) -> Batch:
    weights = [row.weight for row in rows] if weights_count(policy) else [DEFAULT_WEIGHT] * len(rows)
    return Batch(priority, HEALTHY, rows, weights)


def _idle(priority: int, health: int, rows: list[Row]) -> Batch:
    return Batch(priority, health, rows, [0] * len(rows))


def _by_tier(rows: Sequence[Row], policy: TrafficPolicy, node: Node) -> list[Batch]:
    """Returns the endpoints for an Envoy that knows where it is: all of each tier, whatever their health."""
    by_tier: list[list[Row]] = [[] for _ in range(tiers.TIERS)]
    for row in rows:
        if not row.draining:
            by_tier[tiers.tier(node.region, node.zone, row.message.locality)].append(row)
    used = {row.where for row in _usable(rows)}
    chosen = []
    for priority, tier in enumerate(filter(None, by_tier)):
        chosen.append(_healthy(priority, [row for row in tier if row.where in used], policy))
        chosen.append(_idle(priority, UNHEALTHY, [row for row in tier if row.where not in used]))
    return chosen


def _selected(rows: Sequence[Row], policy: TrafficPolicy, node: Node, now_ns: int) -> list[Batch]:
    """Returns the endpoints that Resolve chooses for a client: the tiers that share the calls have one priority."""
    if ramps(policy):
        if node.envoy:
            policy = _without_slow_start(policy)
        else:
            now_ns -= now_ns % step_ns(policy.slow_start)
    by_name = {row.message.name: row for row in rows}
    candidates = select(
        [row.message for row in rows],
        policy,
        locality=Locality(region=node.region, zone=node.zone),
        client_id=node.id,
        now_ns=now_ns,
    )
    chosen = [Batch(0, HEALTHY, [], [])]
    spare: dict[int, list[Row]] = {}
    for candidate in candidates:
        row = by_name[candidate.endpoint.name]
        if candidate.weight:
            chosen[0].rows.append(row)
            chosen[0].weights.append(candidate.weight)
        else:
            spare.setdefault(candidate.priority, []).append(row)
    chosen += [_healthy(priority, spare[tier], policy) for priority, tier in enumerate(sorted(spare), start=1)]
    return chosen


def _without_slow_start(policy: TrafficPolicy) -> TrafficPolicy:
    steady = TrafficPolicy()
    steady.CopyFrom(policy)
    steady.ClearField("slow_start")
    return steady
