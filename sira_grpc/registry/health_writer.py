"""Turns what the health checks find into stored health."""

from __future__ import annotations

from collections.abc import Iterable

from sira.registry.internal.v1.health_record_pb2 import HealthRecord
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.registry_service_pb2 import HealthReport

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import NoTtlCheck
from sira_grpc.registry import names
from sira_grpc.registry.entries import EndpointEntry, LeaseEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.health_checks import HealthChecks
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.probe_api import ProbeResult
from sira_grpc.registry.registrar import Registrar
from sira_grpc.registry.view import RegistryView
from sira_grpc.registry.write_behind import WriteBehind
from sira_grpc.store.api import Op, Put
from sira_grpc.times import timestamp

CAUSE_CHARACTERS = 256


class HealthWriter:
    """Listens to the view, to know what to check, and to the checks, to know what to write."""

    def __init__(
        self,
        view: RegistryView,
        events: EventLog,
        clock: Clock,
        commits: Commits,
    ) -> None:
        self._view = view
        self._events = events
        self._clock = clock
        self.pending = WriteBehind(commits.write, self.op)
        self._found: dict[str, HealthRecord] = {}  # but not yet in the view
        self._checks: HealthChecks | None = None

    def begin(self, checks: HealthChecks) -> None:
        """Hands over the checks and has everything that is in the view checked."""
        self._checks = checks
        hooks = self._view.hooks
        hooks.endpoint_written.append(self.endpoint_written)
        hooks.endpoint_gone.append(self.endpoint_gone)
        hooks.health_written.append(self.health_written)
        hooks.lease_suspect.append(self.lease_suspect)
        for entry in self._view.endpoints():
            self.endpoint_written(entry)

    def endpoint_written(self, entry: EndpointEntry) -> None:
        """Has an endpoint checked as its registration says."""
        assert self._checks is not None, "listening before begin()"
        if entry.message.HasField("health_check"):
            self._checks.set(self._to_check(entry))
        else:
            self._checks.remove(entry.message.name)

    @staticmethod
    def _to_check(entry: EndpointEntry) -> Endpoint:
        endpoint = Endpoint()
        endpoint.CopyFrom(entry.message)
        endpoint.status.state = entry.checked_state  # what the check knows, whether it drains or not
        return endpoint

    def endpoint_gone(self, name: str) -> None:
        """Ends the checking of an endpoint."""
        self._found.pop(name, None)
        if self._checks is not None:
            self._checks.remove(name)

    def health_written(self, entry: EndpointEntry) -> None:
        """Forgets what was found of an endpoint once the view shows it."""
        if entry.health is not None and self._found.get(entry.message.name) == entry.health:
            del self._found[entry.message.name]

    def lease_suspect(self, entry: LeaseEntry) -> None:
        """Has the endpoints of a lease whose stream was lost probed at once."""
        if self._checks is not None:
            for name in entry.endpoints:
                self._checks.probe_now(name)

    def found(self, name: str, result: ProbeResult) -> None:
        """Takes a change of an endpoint's health from the checks."""
        entry = self._view.find_endpoint(name)
        if entry is None:
            return
        self._found[name] = HealthRecord(
            endpoint_create_time=entry.message.create_time,
            state=result.state,
            cause=result.cause[:CAUSE_CHARACTERS],
            state_time=timestamp(self._clock.time_ns()),
        )
        state = HealthState.Name(result.state).removeprefix("HEALTH_STATE_")
        self._events.record(EventType.EVENT_TYPE_HEALTH_CHANGED, name, f"{state}: {result.cause}"[:CAUSE_CHARACTERS])
        self.pending.mark(name)

    def op(self, name: str) -> Op | None:
        """Returns the operation that stores what was last found of an endpoint; None if it is gone or stored."""
        entry, record = self._view.find_endpoint(name), self._found.get(name)
        if entry is None or record is None:
            return None
        return Put(names.HEALTH + names.endpoint_path(name), record.SerializeToString())


class HealthReports:
    """Health that services push for themselves."""

    def __init__(self, leases: LeaseTable, registrar: Registrar, checks: HealthChecks) -> None:
        self._leases = leases
        self._registrar = registrar
        self._checks = checks

    def report(self, lease_key: str, reports: Iterable[HealthReport]) -> None:
        """Takes reports for endpoints under a lease: all or none.

        Raises:
            LeaseNotFound, LeaseNotYours, EndpointNotFound and the like, NoTtlCheck.
        """
        lease = self._leases.open(lease_key).id
        taken = list(reports)
        for report in taken:
            entry = self._registrar.check_under(report.name, lease)
            if entry.message.health_check.WhichOneof("kind") != "ttl":
                raise NoTtlCheck(
                    f"{report.name} has no TTL check: the kernel finds its health out by itself",
                    metadata={"resource": report.name},
                )
        for report in taken:
            self._checks.heard(report.name, report.state, report.cause or "reported")
