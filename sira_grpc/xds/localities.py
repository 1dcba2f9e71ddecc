"""Localities: how endpoints are grouped for clients, so that each gets its share of the calls.

Clients of gRPC know weights of endpoints under ring hash alone, but those of localities: so endpoints of one weight are
a locality of their own, and so are those that began to ramp up at the same time. Under ring hash all endpoints of a
priority are in one locality of weight 1: some clients multiply the weights of the two, others take the endpoint's share
of its locality's. Envoys know weights of endpoints, and slow start. Sources: gRFCs A27, A42, A52.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log

from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TrafficPolicy
from sira_client.balancing.slow_start import window_ns

from sira_grpc.xds.node import Node
from sira_grpc.xds.ramps import ramps, step_ns
from sira_grpc.xds.rows import HEALTHY, Row
from sira_grpc.xds.selection import Batch, weights_count

MAX_TOTAL_WEIGHT = (1 << 32) - 1
"""The weights of the localities of a priority add up to this at most."""
MAX_WEIGHTS = 64
"""Localities by weight in one place. Where there are more weights, those that differ little share a locality."""
LITTLE = 1.15
"""Times by which they differ, at most."""

_NOWHERE = ("", "")

Place = tuple[int, str, str, str]
"""Priority, region, zone, and a part of the zone that stands for what the endpoints have in common."""


@dataclass(slots=True)
class Group:
    """The endpoints of a locality.

    Attributes:
        elements: they, as elements of `lb_endpoints`.
        weight: of all of them.
    """

    elements: list[bytes] = field(default_factory=list)
    weight: int = 0


def grouped(batches: Sequence[Batch], policy: TrafficPolicy, node: Node, now_ns: int) -> dict[Place, Group]:
    """Groups the endpoints that a client is sent.

    Args:
        batches: the endpoints.
        policy: the service's.
        node: the client.
        now_ns: Unix nanoseconds, for slow start.
    """
    ring = policy.lb_policy == LbPolicy.LB_POLICY_RING_HASH and not node.envoy
    own_weights = ring or (node.envoy and (weights_count(policy) or policy.subset_size > 0))
    part = None if ring or node.envoy else _part(batches, policy, now_ns)
    groups: dict[Place, Group] = {}
    for batch in batches:
        for (where, named), members in _members(batch, part, ring=ring).items():
            group = groups.setdefault((batch.priority, *where, named), Group())
            group.weight += sum(weight for _, weight in members)
            if batch.health == HEALTHY and not own_weights:
                group.elements += [row.healthy for row, _ in members]
            else:
                group.elements += [row.element(batch.health, weight if own_weights else 0) for row, weight in members]
    for group in groups.values():
        group.weight = 1 if ring else max(group.weight, 1)
    return _bounded(groups)


def _members(
    batch: Batch, part: Callable[[Row], str] | None, *, ring: bool
) -> dict[tuple[tuple[str, str], str], list[tuple[Row, int]]]:
    """Returns the endpoints of a batch with their weights, by region and zone, and part of the zone."""
    pairs = zip(batch.rows, batch.weights, strict=True)
    if ring:
        return {(_NOWHERE, ""): list(pairs)} if batch.rows else {}
    if part is None:
        places: dict[tuple[str, str], list[tuple[Row, int]]] = {}
        for pair in pairs:
            places.setdefault(pair[0].place, []).append(pair)
        return {(place, ""): members for place, members in places.items()}
    parts: dict[tuple[tuple[str, str], str], list[tuple[Row, int]]] = {}
    for pair in pairs:
        parts.setdefault((pair[0].place, part(pair[0])), []).append(pair)
    return parts


def _part(batches: Sequence[Batch], policy: TrafficPolicy, now_ns: int) -> Callable[[Row], str] | None:
    """Returns what names the part of a zone that an endpoint is in: by weight, where it counts, and by slow start."""
    by_weight = weights_count(policy)
    rough = by_weight and len({row.weight for batch in batches for row in batch.rows}) > MAX_WEIGHTS
    ramping = ramps(policy)
    if not by_weight and not ramping:
        return None

    def part(row: Row) -> str:
        name = f"w{_rough(row.weight) if rough else row.weight}" if by_weight else ""
        began = _began(row, policy, now_ns) if ramping else 0
        return f"{name}s{began}" if began else name

    return part


def _rough(weight: int) -> int:
    return round(LITTLE ** round(log(weight, LITTLE)))


def _began(row: Row, policy: TrafficPolicy, now_ns: int) -> int:
    """Returns the step in which an endpoint began to ramp up; 0 if it does not."""
    if now_ns - row.since >= window_ns(policy.slow_start):
        return 0
    return row.since // step_ns(policy.slow_start)


def _bounded(groups: dict[Place, Group]) -> dict[Place, Group]:
    """Scales the weights of localities down where a priority has too much, and puts the groups in their order."""
    totals: dict[int, int] = {}
    for (priority, *_), group in groups.items():
        totals[priority] = totals.get(priority, 0) + group.weight
    for (priority, *_), group in groups.items():
        if totals[priority] > MAX_TOTAL_WEIGHT:
            group.weight = max(1, group.weight * (MAX_TOTAL_WEIGHT - len(groups)) // totals[priority])
    return dict(sorted(groups.items()))
