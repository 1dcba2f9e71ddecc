"""Turns what the health checks find into stored health.

Each endpoint is checked by one member: where it is probed by the one that placement gives it to, where it reports by
itself by the one that has its lease. Should two check one for a moment, neither writes over what it has not seen:
whoever finds that the other has written goes on from that, and looks again.
What an endpoint reports to another member is stored by that one, whether it says anything new or not: who checks the
endpoint takes it from there as if it had heard it.
"""

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
        leases: LeaseTable,
    ) -> None:
        self._view = view
        self._events = events
        self._clock = clock
        self._leases = leases
        self.pending = WriteBehind(commits.write, self.op)
        self._found: dict[str, HealthRecord] = {}  # but not yet in the view
        self._sent: dict[str, HealthRecord] = {}  # of these, what was last handed to the store
        self._relayed: dict[str, HealthRecord] = {}  # reported here, but checked elsewhere; not yet in the view
        self._checks: HealthChecks | None = None

    def begin(self, checks: HealthChecks) -> None:
        """Hands over the checks and has everything that is in the view checked."""
        self._checks = checks
        hooks = self._view.hooks
        hooks.endpoint_written.append(self.endpoint_written)
        hooks.endpoint_gone.append(self.endpoint_gone)
        hooks.health_written.append(self.health_written)
        hooks.lease_suspect.append(self.lease_suspect)
        self._leases.moved.append(self.lease_moved)
        for entry in self._view.endpoints():
            self.endpoint_written(entry)

    def endpoint_written(self, entry: EndpointEntry) -> None:
        """Has an endpoint checked as its registration says, if that is up to this member."""
        self._assign(entry)

    def reassign(self, entry: EndpointEntry) -> None:
        """Begins to check an endpoint, soon, if that has come to be up to this member, or ends it."""
        assert self._checks is not None, "listening before begin()"
        if self._is_ours(entry) != (entry.message.name in self._checks):
            self._assign(entry, soon=True)

    def _assign(self, entry: EndpointEntry, *, soon: bool = False) -> None:
        assert self._checks is not None, "listening before begin()"
        if self._is_ours(entry):
            self._checks.set(self._to_check(entry), soon=soon)
        else:
            self._checks.remove(entry.message.name)
            self._drop(entry.message.name)

    def _is_ours(self, entry: EndpointEntry) -> bool:
        kind = entry.message.health_check.WhichOneof("kind")
        if kind == "ttl":
            return self._leases.has(entry.lease)
        return kind is not None and self._leases.owns(f"probe/{entry.message.name}")

    def lease_moved(self, lease: LeaseEntry) -> None:
        """Takes over, or gives up, the TTL checks of what lives under a lease: they have one TTL from here."""
        for entry in map(self._view.find_endpoint, lease.endpoints):
            if entry is not None and entry.message.health_check.WhichOneof("kind") == "ttl":
                self._assign(entry)

    @staticmethod
    def _to_check(entry: EndpointEntry) -> Endpoint:
        endpoint = Endpoint()
        endpoint.CopyFrom(entry.message)
        endpoint.status.state = entry.checked_state  # what the check knows, whether it drains or not
        return endpoint

    def endpoint_gone(self, name: str) -> None:
        """Ends the checking of an endpoint."""
        self._drop(name)
        self._relayed.pop(name, None)
        if self._checks is not None:
            self._checks.remove(name)

    def _drop(self, name: str) -> None:
        self._found.pop(name, None)
        self._sent.pop(name, None)

    def health_written(self, entry: EndpointEntry) -> None:
        """Forgets what was found of an endpoint once the view shows it, or shows what another member found."""
        name, record = entry.message.name, entry.health
        if record is None:
            return
        if record == self._relayed.get(name):
            del self._relayed[name]
        if record == self._found.get(name):
            self._drop(name)
        elif record != self._sent.get(name):
            self._drop(name)
            if self._checks is not None and self._is_ours(entry):
                self._checks.remove(name)
                self._checks.set(self._to_check(entry), soon=True)

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
        self._found[name] = self._record(entry, result, self._clock.time_ns())
        self._changed(name, result)
        self.pending.mark(name)

    def relay(self, entry: EndpointEntry, result: ProbeResult) -> None:
        """Takes a report of an endpoint that another member checks, and stores it for that one."""
        known = entry.health if entry.checked_state == result.state else None
        since = known.state_time.ToNanoseconds() if known is not None else self._clock.time_ns()
        self._relayed[entry.message.name] = self._record(entry, result, since)
        if known is None:
            self._changed(entry.message.name, result)
        self.pending.mark(entry.message.name)

    @staticmethod
    def _record(entry: EndpointEntry, result: ProbeResult, since_ns: int) -> HealthRecord:
        return HealthRecord(
            endpoint_create_time=entry.message.create_time,
            state=result.state,
            cause=result.cause[:CAUSE_CHARACTERS],
            state_time=timestamp(since_ns),
        )

    def _changed(self, name: str, result: ProbeResult) -> None:
        state = HealthState.Name(result.state).removeprefix("HEALTH_STATE_")
        self._events.record(EventType.EVENT_TYPE_HEALTH_CHANGED, name, f"{state}: {result.cause}"[:CAUSE_CHARACTERS])

    def op(self, name: str) -> Op | None:
        """Returns the operation that stores what was last found of an endpoint; None if it is gone or stored."""
        entry, found = self._view.find_endpoint(name), self._found.get(name)
        record = found or self._relayed.get(name)
        if entry is None or record is None:
            return None
        if found is not None:
            self._sent[name] = found
        return Put(names.HEALTH + names.endpoint_path(name), record.SerializeToString(), entry.health_revision)


class HealthReports:
    """Health that services push for themselves."""

    def __init__(self, leases: LeaseTable, registrar: Registrar, checks: HealthChecks, writer: HealthWriter) -> None:
        self._leases = leases
        self._registrar = registrar
        self._checks = checks
        self._writer = writer

    def report(self, lease_key: str, reports: Iterable[HealthReport]) -> None:
        """Takes reports for endpoints under a lease: all or none.

        Where another member has the lease, they reach it through the store, and the lease stays where it is: a client
        may hold it with a stream there and report here.

        Raises:
            LeaseNotFound, LeaseNotYours, EndpointNotFound and the like, NoTtlCheck.
        """
        lease = self._leases.open(lease_key)
        taken = [(self._endpoint(report.name, lease.id), report) for report in reports]
        here = self._leases.has(lease.id)
        for entry, report in taken:
            cause = report.cause or "reported"
            if here:
                self._checks.heard(report.name, report.state, cause)
            else:
                self._writer.relay(entry, ProbeResult(report.state, cause, authoritative=True))

    def _endpoint(self, name: str, lease: str) -> EndpointEntry:
        entry = self._registrar.check_under(name, lease)
        if entry.message.health_check.WhichOneof("kind") != "ttl":
            raise NoTtlCheck(
                f"{name} has no TTL check: the kernel finds its health out by itself", metadata={"resource": name}
            )
        return entry
