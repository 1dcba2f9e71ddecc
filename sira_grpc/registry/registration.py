"""One registration on its way into the store: what it would write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.service_pb2 import Service

from sira_grpc.commits import MAX_CHANGES
from sira_grpc.errors import EndpointHeld, FieldViolation, InvalidField, LeaseNotFound, ServiceNotFound
from sira_grpc.etags import check_etag
from sira_grpc.registry import names
from sira_grpc.registry.entries import EndpointEntry
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.view import RegistryView
from sira_grpc.store.api import ABSENT, Check, Op, Put


class Registration:
    """Endpoints that are to be registered under a lease.

    Args:
        lease: its id.
        allow_missing_service: create services that are not there.
        new_lease: the lease itself, if it is to be created along with them.

    Attributes:
        services: names of the services that the last plan creates.
        created, updated: names of the endpoints that it writes.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        lease: str,
        *,
        allow_missing_service: bool,
        new_lease: LeaseRecord | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._allow_missing_service = allow_missing_service
        self._new_lease = new_lease
        self.lease = lease
        self.services: list[str] = []
        self.created: list[str] = []
        self.updated: list[str] = []

    def uses(self) -> Iterable[str]:
        """Returns the names of the services and namespaces that must stay while it is written."""
        services = dict.fromkeys(names.service_of(e.name) for e in self._endpoints)
        return [*services, *dict.fromkeys(names.namespace_of(name) for name in services)]

    def plan(self, view: RegistryView, leases: LeaseTable, now: Timestamp) -> list[Op]:
        """Returns what is to be written; nothing, if all of it is there already.

        Raises: as Registrar.register.
        """
        ops: list[Op] = []
        checks: list[Op] = []
        if self._new_lease is not None:
            ops.append(Put(names.LEASES + self.lease, self._new_lease.SerializeToString(), ABSENT))
        elif self.lease in view.leases:
            checks.append(Check(names.LEASES + self.lease, view.leases[self.lease].revision))
        else:
            raise LeaseNotFound("lease_key: the lease is gone", metadata={"lease": names.lease_name(self.lease)})
        # A view applies the operations in their order: what the endpoints hang on comes first.
        self.services = self._missing_services(view)
        for name in self.services:
            service = Service(name=name, create_time=now, update_time=now)
            ops.append(Put(names.service_key(name), service.SerializeToString(), ABSENT))
        checks += self._checks(view)
        self.created, self.updated = [], []
        for endpoint in self._endpoints:
            entry = self._existing(endpoint, view, leases)
            message = _stored(endpoint, self.lease, entry)
            if entry is not None and message == _comparable(entry):
                continue
            message.update_time.CopyFrom(now)
            if not message.HasField("create_time"):
                message.create_time.CopyFrom(now)
            key = names.ENDPOINTS + names.endpoint_path(endpoint.name)
            ops.append(Put(key, message.SerializeToString(), entry.revision if entry else ABSENT))
            (self.updated if entry else self.created).append(endpoint.name)
        # Should they not all fit, because each endpoint has a namespace of its own: what is left without its namespace
        # or service is an orphan, which the next sweep removes.
        return ops + checks[: MAX_CHANGES - len(ops)] if ops else []

    def _checks(self, view: RegistryView) -> list[Op]:
        """Returns what keeps other members from deleting meanwhile what the endpoints hang on."""
        services = dict.fromkeys(names.service_of(e.name) for e in self._endpoints)
        namespaces = dict.fromkeys(names.namespace_of(name) for name in self.services)
        checks: list[Op] = [
            Check(names.service_key(s), view.services[s].revision) for s in services if s in view.services
        ]
        return checks + [Check(names.namespace_key(n), view.namespaces[n].revision) for n in namespaces]

    def _missing_services(self, view: RegistryView) -> list[str]:
        """Returns the services that are to be created. Raises: NamespaceNotFound, ServiceNotFound."""
        missing = []
        for name in dict.fromkeys(names.service_of(e.name) for e in self._endpoints):
            try:
                view.service(name)
            except ServiceNotFound:
                if not self._allow_missing_service:
                    raise
                missing.append(name)
        return missing

    def _existing(self, endpoint: Endpoint, view: RegistryView, leases: LeaseTable) -> EndpointEntry | None:
        """Returns the endpoint of that name, which the batch may write. Raises: EtagMismatch, EndpointHeld."""
        entry = view.find_endpoint(endpoint.name)
        check_etag(endpoint.etag, entry.revision if entry else 0, endpoint.name)
        if entry is not None and entry.lease != self.lease and leases.holds(entry.lease):
            lease = names.lease_name(entry.lease)
            raise EndpointHeld(
                f"{endpoint.name} lives under another lease, {lease}; it can be taken over when that lease is "
                "suspect, revoked or expired",
                metadata={"resource": endpoint.name, "lease": lease},
            )
        return entry


def check_distinct(endpoints: Sequence[Endpoint]) -> None:
    """Refuses endpoints of which two have one name.

    Raises:
        InvalidField: naming the second of them.
    """
    seen: dict[str, int] = {}
    for i, endpoint in enumerate(endpoints):
        first = seen.setdefault(endpoint.name, i)
        if first != i:
            raise InvalidField([FieldViolation(f"endpoints[{i}].name", f"must not repeat endpoints[{first}].name")])


def _stored(endpoint: Endpoint, lease: str, entry: EndpointEntry | None) -> Endpoint:
    message = Endpoint()
    message.CopyFrom(endpoint)
    for output_only in ("status", "etag", "create_time", "update_time"):
        message.ClearField(output_only)
    message.lease = names.lease_name(lease)
    if entry is not None and entry.lease == lease:
        message.create_time.CopyFrom(entry.message.create_time)
    return message


def _comparable(entry: EndpointEntry) -> Endpoint:
    message = Endpoint()
    message.CopyFrom(entry.message)
    for output_only in ("status", "etag", "update_time"):
        message.ClearField(output_only)
    return message
