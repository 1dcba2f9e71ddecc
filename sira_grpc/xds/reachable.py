"""Reachable services: calls go only to what is there, whatever a policy says."""

from __future__ import annotations

from collections.abc import Container

from sira.registry.v1.route_pb2 import Destination
from sira.registry.v1.service_pb2 import Service

from sira_grpc.registry.policy_checks import mirroring


def reachable(service: Service, services: Container[str]) -> Service:
    """Returns a service whose policy has no splits to services that are gone: the others share those calls.

    If none is left of a route, its calls go to the service itself. Nor has it mirrors to such. The same object where
    all are there.
    """

    def gone(destination: Destination) -> bool:
        return bool(destination.service) and destination.service not in services

    policy = service.traffic_policy
    splits = any(gone(split.destination) for route in policy.routes for split in route.splits)
    if not splits and not any(gone(part.mirror.destination) for part in mirroring(policy)):
        return service
    left = Service()
    left.CopyFrom(service)
    for part in mirroring(left.traffic_policy):
        if part.HasField("mirror") and gone(part.mirror.destination):
            part.ClearField("mirror")
    for route in left.traffic_policy.routes:
        kept = [split for split in route.splits if not gone(split.destination)]
        if len(kept) < len(route.splits):
            del route.splits[:]
            route.splits.extend(kept)
    return left
