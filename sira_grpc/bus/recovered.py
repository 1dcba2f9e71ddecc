"""What is known of records when a machine is made of what is durable."""

from __future__ import annotations

from collections.abc import Iterable

from sira_grpc.bus.delivery import Retry
from sira_grpc.bus.range_map import RangeMap
from sira_grpc.bus.spans import Spans


def recovered(settled: Spans, retries: Iterable[Retry]) -> RangeMap[tuple[int, float]]:
    """Returns the deliveries and the due of records that are not settled; of two retries the later counts."""
    known: RangeMap[tuple[int, float]] = RangeMap()
    for first, end, deliveries, due in retries:
        known.cut(first, end)
        for start, stop in settled.missing(first, end):
            known.put(start, stop, (deliveries, due))
    return known
