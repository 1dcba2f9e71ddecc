"""What the bus counts."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.metrics import Meter
from sira.bus.internal.v1.settlement_record_pb2 import DeadLetterRecord

from sira_grpc.bus.delivery import Outcome
from sira_grpc.bus.parcel import Parcel
from sira_grpc.times import NANOS

_LATENCIES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 60.0)


class BusMetrics:
    """Counters and latencies. A point for each frame, not for each record."""

    def __init__(self, meter: Meter) -> None:
        self._published = meter.create_counter(
            "sira.bus.published.records", unit="{record}", description="Records that were stored."
        )
        self._published_bytes = meter.create_counter(
            "sira.bus.published", unit="By", description="Bytes of the frames that were stored."
        )
        self._publish_latency = meter.create_histogram(
            "sira.bus.publish.duration",
            unit="s",
            description="From when a frame was read to when it was durable: of those written together, the first.",
            explicit_bucket_boundaries_advisory=_LATENCIES,
        )
        self._delivered = meter.create_counter(
            "sira.bus.delivered.records", unit="{record}", description="Records that were delivered."
        )
        self._delivered_bytes = meter.create_counter(
            "sira.bus.delivered", unit="By", description="Bytes of the frames that were delivered."
        )
        self._redelivered = meter.create_counter(
            "sira.bus.redelivered.records",
            unit="{record}",
            description="Records that were delivered again: part of those delivered.",
        )
        self._delivery_latency = meter.create_histogram(
            "sira.bus.delivery.duration",
            unit="s",
            description="From when a frame was published to when it was first delivered.",
            explicit_bucket_boundaries_advisory=_LATENCIES,
        )
        self._settled = meter.create_counter(
            "sira.bus.settled.records", unit="{record}", description="Records that were acknowledged or skipped."
        )
        self._dead = meter.create_counter(
            "sira.bus.dead.records", unit="{record}", description="Records that became dead letters."
        )

    def published(self, records: int, size: int, seconds: float) -> None:
        """Counts frames that were stored together."""
        self._published.add(records)
        self._published_bytes.add(size)
        self._publish_latency.record(seconds)

    def delivered(self, parcel: Parcel, records: int, size: int, now_ns: int) -> None:
        """Counts a delivery."""
        self._delivered.add(records)
        self._delivered_bytes.add(size)
        if parcel.attempt > 1:
            self._redelivered.add(records)
        else:
            self._delivery_latency.record(max(0, now_ns - parcel.held.publish_ns) / NANOS)

    def settled(self, outcome: Outcome) -> None:
        """Counts what was settled."""
        self._settled.add(sum(end - first for first, end in outcome.settled))

    def dead(self, records: Sequence[DeadLetterRecord]) -> None:
        """Counts dead letters."""
        self._dead.add(len(records))
