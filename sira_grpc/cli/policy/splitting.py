"""Splits of all the calls of a service between versions of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira.registry.v1.route_pb2 import Route
    from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

MAX_WEIGHT = 1_000_000


def parse(shares: Sequence[str]) -> dict[str, int]:
    """Reads `v1=90`.

    Raises:
        Failure: one is malformed, a version is there twice, or nothing has a weight.
    """
    read: dict[str, int] = {}
    for share in shares:
        version, equals, weight = share.rpartition("=")
        if not version or not equals or not (weight.isascii() and weight.isdecimal()) or int(weight) > MAX_WEIGHT:
            raise Failure(f"VERSION=WEIGHT: {share!r} must be like v1=90, up to {MAX_WEIGHT:,}", ExitCode.USAGE)
        if version in read:
            raise Failure(f"VERSION=WEIGHT: {version} is there twice", ExitCode.USAGE)
        read[version] = int(weight)
    if not any(read.values()):
        raise Failure("VERSION=WEIGHT: one of the weights must be above zero", ExitCode.USAGE)
    return read


def split(policy: TrafficPolicy, weights: Mapping[str, int]) -> bool:
    """Has the calls that no other route matches go to versions by weight. Returns whether that changed anything."""
    from sira.registry.v1.route_pb2 import Destination, Split

    splits = [Split(weight=weight, destination=Destination(version=version)) for version, weight in weights.items()]
    route = _whole(policy) or policy.routes.add()
    if list(route.splits) == splits:
        return False
    del route.splits[:]
    route.splits.extend(splits)
    return True


def unsplit(policy: TrafficPolicy) -> bool:
    """Has the calls that no other route matches go to all versions again. Returns whether that changed anything."""
    route = _whole(policy)
    if route is None or not route.splits:
        return False
    del route.splits[:]
    if not route.ListFields():
        policy.routes.remove(route)
    return True


def _whole(policy: TrafficPolicy) -> Route | None:
    """The first route that every call matches: what comes after it counts for nothing."""
    return next((route for route in policy.routes if not route.matches), None)
