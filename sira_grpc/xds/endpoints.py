"""Endpoints: the ClusterLoadAssignment of a service, or of a part of it.

Put together from bytes: a service may have ten thousand endpoints, of which one changes. The numbers are those of the
fields in `envoy.config.endpoint.v3`.
"""

from __future__ import annotations

from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy
from sira_client.balancing import tiers

from sira_grpc.xds import wire
from sira_grpc.xds.localities import Group, Place, grouped
from sira_grpc.xds.names import target_named
from sira_grpc.xds.node import Node
from sira_grpc.xds.rows import rows_of
from sira_grpc.xds.selection import choose
from sira_grpc.xds.world import World

MAX_OVERPROVISIONING = 1_000_000


def build(world: World, name: str, node: Node) -> bytes | None:
    """Returns the assignment of a cluster for a client, serialized; None if there is no such service.

    A service of which nothing can be used has one too, which is empty: that is not the same as no service.
    """
    target = target_named(name)
    service = world.view.services.get(target.service) if target is not None else None
    if target is None or service is None:
        return None
    rows = rows_of(world.view, service)
    if not target.whole:
        rows = [row for row in rows if target.has(row.message)]
    policy, now = service.message.traffic_policy, world.clock.time_ns()
    groups = grouped(choose(rows, policy, node, now), policy, node, now)
    parts = [wire.field(1, name.encode())]
    for place, group in groups.items():
        parts += _locality(place, group)
    if node.envoy and policy.HasField("locality_failover"):
        parts.append(wire.field(4, wire.field(3, wire.number_field(1, _overprovisioning(policy)))))
    return b"".join(parts)


def _locality(place: Place, group: Group) -> list[bytes]:
    """Returns the pieces of an element of `endpoints`."""
    priority, *names = place
    named = b"".join(wire.field(number, name.encode()) for number, name in enumerate(names, start=1) if name)
    tail = wire.field(3, wire.number_field(1, group.weight))
    if priority:
        tail += wire.number_field(5, priority)
    pieces = [wire.field(1, named), *group.elements, tail]
    length = sum(map(len, pieces))
    return [b"\x12" + wire.varint(length), *pieces]


def _overprovisioning(policy: TrafficPolicy) -> int:
    """Returns the percentage that a tier may lack: below 100 / it of healthy endpoints, it hands calls on."""
    threshold = policy.locality_failover.threshold or tiers.DEFAULT_THRESHOLD
    return round(min(100 / threshold, MAX_OVERPROVISIONING))
