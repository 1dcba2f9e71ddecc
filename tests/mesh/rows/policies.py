"""What policies of several rows are made of."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.route_pb2 import Destination, Route, RouteMatch, Split
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy


def seconds(count: float) -> Duration:
    """A duration."""
    duration = Duration()
    duration.FromNanoseconds(round(count * 1e9))
    return duration


def split(*matches: RouteMatch, **weights: int) -> Route:
    """A route that splits calls by version; that of no weight gets none."""
    splits = [Split(weight=weight, destination=Destination(version=version)) for version, weight in weights.items()]
    return Route(matches=matches, splits=splits)


def routed(*routes: Route) -> TrafficPolicy:
    """A policy with routes."""
    return TrafficPolicy(routes=routes)
