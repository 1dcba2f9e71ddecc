"""TTL checks: endpoints that say themselves how they are, and are NOT_SERVING when they fall silent."""

from __future__ import annotations

from collections.abc import Callable

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.clock import Clock
from sira_grpc.errors import NoTtlCheck
from sira_grpc.registry.health_schedule import CallLater, Schedule
from sira_grpc.registry.health_thresholds import Thresholds
from sira_grpc.registry.probe_api import ProbeResult
from sira_grpc.times import seconds


class _Reporter:
    __slots__ = ("thresholds", "ttl")

    def __init__(self, ttl: float, thresholds: Thresholds) -> None:
        self.ttl = ttl
        self.thresholds = thresholds


class TtlChecks:
    """Takes the reports of endpoints with a TTL check and notices when one is overdue.

    Args:
        report: called from the event loop with the name of an endpoint whose state changed.
    """

    def __init__(self, report: Callable[[str, ProbeResult], None], *, clock: Clock, call_later: CallLater) -> None:
        self._report = report
        self._clock = clock
        self._reporters: dict[str, _Reporter] = {}
        self._deadlines = Schedule(self._silent, clock=clock, call_later=call_later)

    def set(self, endpoint: Endpoint, state: HealthState.ValueType) -> None:
        """Begins to wait for reports, the first within the TTL from now, going on from a settled state."""
        check = endpoint.health_check
        reporter = _Reporter(seconds(check.ttl.ttl), Thresholds.of(check, state))
        self._reporters[endpoint.name] = reporter
        self._deadlines.at(endpoint.name, self._clock.monotonic() + reporter.ttl)

    def remove(self, name: str) -> None:
        """Waits no more. An unknown name is no error."""
        if self._reporters.pop(name, None) is not None:
            self._deadlines.cancel(name)

    def heard(self, name: str, state: HealthState.ValueType, cause: str) -> None:
        """Takes a report, which is good for one TTL from now.

        Raises:
            NoTtlCheck: there is no TTL check of that name.
        """
        reporter = self._reporters.get(name)
        if reporter is None:
            raise NoTtlCheck(f"endpoint {name} has no TTL check", metadata={"name": name})
        self._deadlines.at(name, self._clock.monotonic() + reporter.ttl)
        self._take(name, reporter, ProbeResult(state, cause, authoritative=True))

    def close(self) -> None:
        """Forgets every endpoint."""
        self._reporters.clear()
        self._deadlines.close()

    def _silent(self, name: str) -> None:
        reporter = self._reporters[name]
        cause = f"no health report for {reporter.ttl:g}s"
        self._take(name, reporter, ProbeResult(HealthState.HEALTH_STATE_NOT_SERVING, cause))

    def _take(self, name: str, reporter: _Reporter, result: ProbeResult) -> None:
        if reporter.thresholds.take(result.state, at_once=True):
            self._report(name, result)
