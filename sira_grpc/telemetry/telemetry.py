"""The handle on metrics and traces that the kernel passes around."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import TracerProvider

Reading = float | Sequence[tuple[float, Mapping[str, str]]]
"""A value, or several with the attributes that tell them apart."""


class Telemetry:
    """A meter, a tracer provider where traces are on, and the exporters behind them.

    Args:
        meter: makes instruments; those of a kernel that exports nothing do nothing.
        tracer_provider: what spans are made with; None where traces are off.
        prometheus_address: where `/metrics` is served; empty where it is not.
        closers: end the exporters, in this order.
    """

    def __init__(
        self,
        meter: Meter,
        tracer_provider: TracerProvider | None = None,
        prometheus_address: str = "",
        closers: Sequence[Callable[[], object]] = (),
    ) -> None:
        self.meter = meter
        self.tracer_provider = tracer_provider
        self.prometheus_address = prometheus_address
        self._closers = list(closers)

    def gauge(self, name: str, read: Callable[[], Reading], *, unit: str = "1", description: str = "") -> None:
        """Has a value read whenever somebody asks for the metrics.

        Args:
            name: such as `sira.registry.endpoints`.
            read: returns the value. Runs on a thread of the exporter, at any time: it may read numbers and the sizes
                of collections, but must neither iterate what the event loop changes, nor block.
            unit: a UCUM unit, such as `s` or `{endpoint}`.
            description: one sentence.
        """

        def observe(options: CallbackOptions) -> list[Observation]:
            reading = read()
            if isinstance(reading, int | float):
                return [Observation(reading)]
            return [Observation(value, dict(attributes)) for value, attributes in reading]

        self.meter.create_observable_gauge(name, [observe], unit=unit, description=description)

    def close(self) -> None:
        """Sends what is left and ends the exporters. Blocks for as long as the collector takes, at most some seconds.

        Idempotent.
        """
        while self._closers:
            self._closers.pop(0)()
