"""Locality tiers: how near an endpoint is to the caller, and which share of the calls each nearness gets.

Source: Envoy's priority levels, whose overprovisioning factor is here 1 / threshold,
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
"""

from __future__ import annotations

from collections.abc import Sequence

from sira.registry.v1.locality_pb2 import Locality

DEFAULT_THRESHOLD = 0.7
TIERS = 3
"""0 is the caller's own zone, 1 its region, 2 elsewhere."""


def tier(caller_region: str, caller_zone: str, locality: Locality) -> int:
    """How near a locality is to the caller's. What is not known is near to nothing: not even to the unknown."""
    region = locality.region
    if region == caller_region:
        if caller_zone and locality.zone == caller_zone:
            return 0
        if caller_region:
            return 1
    return 2


def shares(usable: Sequence[int], registered: Sequence[int], threshold: float) -> list[float]:
    """The share of calls that each tier gets, the nearest first. They add up to 1, or are all 0 if nothing is usable.

    A tier whose usable share h is at least the threshold t can take all calls, one below it h / t of them; what
    the nearer tiers cannot take goes on to the next. If all together cannot take everything, they share it in
    proportion to what each can take.

    Args:
        usable: endpoints that take calls, by tier.
        registered: endpoints that are there and do not drain, by tier.
        threshold: above 0 and up to 1.
    """
    capacity = [
        min(1.0, here / there / threshold) if there else 0.0 for here, there in zip(usable, registered, strict=True)
    ]
    total = min(1.0, sum(capacity))
    if not total:
        return [0.0] * len(capacity)
    left, result = 1.0, []
    for able in capacity:
        taken = min(left, able / total)
        left -= taken
        result.append(taken)
    if left > 0:  # what rounding left over belongs to the last that takes any
        last = max(i for i, taken in enumerate(result) if taken)
        result[last] += left
    return result


def allot(size: int, share: Sequence[float], usable: Sequence[int]) -> list[int]:
    """How many endpoints of each tier a subset of `size` holds, the tiers that take calls first.

    Each tier with a share of the calls gets that share of the places, rounded up, and one at least while there are
    any; places that are left go to the nearest tiers that have more endpoints.
    """
    places = [0] * len(share)
    left = size
    active = [i for i, part in enumerate(share) if part > 0]
    for position, i in enumerate(active):
        waiting = len(active) - position - 1
        wanted = -int(-share[i] * size // 1)
        places[i] = min(usable[i], max(1, min(wanted, left - waiting)), left)
        left -= places[i]
    for i, there in enumerate(usable):
        more = min(left, there - places[i])
        places[i] += more
        left -= more
    return places
