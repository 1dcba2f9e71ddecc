"""Reachable services: calls go only to what is there, whatever a policy says."""

from __future__ import annotations

from collections.abc import Container

from sira.registry.v1.service_pb2 import Service


def reachable(service: Service, services: Container[str]) -> Service:
    """Returns a service whose policy has no splits to services that are gone: the others share those calls.

    If none is left of a route, its calls go to the service itself. The same object where all are there.
    """
    gone = [
        (number, place)
        for number, route in enumerate(service.traffic_policy.routes)
        for place, split in enumerate(route.splits)
        if split.destination.service and split.destination.service not in services
    ]
    if not gone:
        return service
    left = Service()
    left.CopyFrom(service)
    for number, place in reversed(gone):
        del left.traffic_policy.routes[number].splits[place]
    return left
