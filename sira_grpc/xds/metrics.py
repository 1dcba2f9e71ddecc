"""What the control plane counts."""

from __future__ import annotations

from opentelemetry.metrics import Meter

_LATENCIES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class XdsMetrics:
    """Counters and latencies of the streams of this member."""

    def __init__(self, meter: Meter) -> None:
        self._responses = meter.create_counter(
            "sira.xds.responses", unit="{response}", description="Responses that were made for clients."
        )
        self._response_bytes = meter.create_counter(
            "sira.xds.sent", unit="By", description="Bytes of the responses that were made for clients."
        )
        self._rejections = meter.create_counter(
            "sira.xds.rejections", unit="{response}", description="Responses that clients have rejected."
        )
        self._pushes = meter.create_histogram(
            "sira.xds.push.duration",
            unit="s",
            description="From when a change was known to when every stream was told of it.",
            explicit_bucket_boundaries_advisory=_LATENCIES,
        )

    def responded(self, size: int) -> None:
        """Counts a response of so many bytes."""
        self._responses.add(1)
        self._response_bytes.add(size)

    def rejected(self) -> None:
        """Counts a rejection (NACK)."""
        self._rejections.add(1)

    def pushed(self, seconds: float) -> None:
        """Counts a push: of all changes in it, the first."""
        self._pushes.record(seconds)
