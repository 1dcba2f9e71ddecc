"""Calls, latency and calls in flight, by method."""

from __future__ import annotations

import time
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.interceptor import Interceptor

UNKNOWN = "_OTHER"
"""The method of calls to methods that are not there: their names are the caller's choice, and without bound."""


class Metrics(Interceptor):
    """Counts every call in one histogram, whose count by method and code is also the number of calls.

    One record of a histogram costs about 5 us; a counter beside it would double that and say nothing more. Calls in
    flight are plain integers, read when somebody asks.
    """

    def __init__(self, meter: Meter) -> None:
        self._duration = meter.create_histogram(
            "rpc.server.call.duration",
            unit="s",
            description="Seconds from the first sight of a call to its end; its count is the number of calls",
        )
        meter.create_observable_up_down_counter(
            "rpc.server.active_calls", [self._observe], unit="{call}", description="Calls in flight"
        )
        self._attributes: dict[tuple[str, str], dict[str, str]] = {}
        self._active: dict[str, int] = {}

    def register(self, method: str) -> None:
        """Makes a method known, before the first call. From then on it is observed, at 0 too."""
        self._active[method] = 0

    def enter(self, call: Call) -> None:
        """Counts the call as in flight."""
        self._active[call.method.name] += 1
        call.started = time.perf_counter()

    def exit(self, call: Call) -> None:
        """Records how the call went."""
        name = call.method.name
        self._active[name] -= 1
        self._record(time.perf_counter() - call.started, name, call.code.name)

    def unknown(self) -> None:
        """Records a call to a method that is not there."""
        self._record(0.0, UNKNOWN, "UNIMPLEMENTED")

    def _record(self, seconds: float, method: str, code: str) -> None:
        attributes = self._attributes.get((method, code))
        if attributes is None:
            attributes = {"rpc.method": method, "rpc.response.status_code": code}
            self._attributes[method, code] = attributes
        self._duration.record(seconds, attributes)

    def _observe(self, options: CallbackOptions) -> Iterable[Observation]:
        """Runs on the thread of the exporter: the dict keeps its size once the server has started."""
        return [Observation(active, {"rpc.method": method}) for method, active in self._active.items()]
