"""Commits of registry records made by hand, and the snapshot that a store would give of them."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp
from sira.registry.internal.v1.drain_record_pb2 import DrainRecord
from sira.registry.internal.v1.health_record_pb2 import HealthRecord
from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthCheck, HealthState, TcpCheck
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service

from sira_grpc.registry import names
from sira_grpc.store import Change, Commit, Delete, Entry, Op, Put, Snapshot
from sira_grpc.times import timestamp

NAMESPACE = "namespaces/n"


def service_name(service: int) -> str:
    return f"{NAMESPACE}/services/s{service}"


def endpoint_name(service: int, endpoint: int) -> str:
    return f"{service_name(service)}/endpoints/e{endpoint}"


class History:
    """What a store holds, how it came to be, and what may be done next: each method does it if it may be done."""

    def __init__(self, listener: Callable[[Commit], None]) -> None:
        self.revision = 0
        self.entries: dict[str, Entry] = {}
        self.deleted: dict[str, int] = {}
        self._listener = listener
        self.commit([Put(names.namespace_key(NAMESPACE), Namespace(name=NAMESPACE).SerializeToString())])

    def commit(self, ops: list[Op]) -> None:
        self.revision += 1
        changes = []
        for op in ops:
            if isinstance(op, Put):
                self.entries[op.key] = Entry(op.key, op.value, self.revision)
                self.deleted.pop(op.key, None)
                changes.append(Change(op.key, op.value, self.revision))
            elif op.key in self.entries:
                del self.entries[op.key]
                self.deleted[op.key] = self.revision
                changes.append(Change(op.key, None, self.revision))
        self._listener(Commit(self.revision, tuple(changes)))

    def snapshot(self) -> Snapshot:
        ordered = tuple(self.entries[key] for key in sorted(self.entries))
        return Snapshot(self.revision, ordered, tuple(sorted(self.deleted.items())))

    def _paths(self, service: int) -> list[str]:
        prefix = f"{names.ENDPOINTS}n/s{service}/"
        return [key[len(names.ENDPOINTS) :] for key in self.entries if key.startswith(prefix)]

    def _removal(self, path: str) -> list[Op]:
        return [Delete(prefix + path) for prefix in (names.ENDPOINTS, names.HEALTH, names.DRAINS)]

    def put_service(self, service: int) -> None:
        message = Service(name=service_name(service), description=str(self.revision))
        self.commit([Put(names.service_key(message.name), message.SerializeToString())])

    def delete_service(self, service: int) -> None:
        ops = [op for path in self._paths(service) for op in self._removal(path)]
        self.commit([*ops, Delete(names.service_key(service_name(service)))])

    def put_lease(self, lease: int, *, suspect: bool) -> None:
        known = self.entries.get(f"{names.LEASES}l{lease}")
        if known is not None and LeaseRecord.FromString(known.value).HasField("suspect_time") == suspect:
            return  # a lease is written when it is made and when this changes
        record = LeaseRecord()
        if suspect:
            record.suspect_time.CopyFrom(timestamp(self.revision))
        self.commit([Put(f"{names.LEASES}l{lease}", record.SerializeToString())])

    def delete_lease(self, lease: int) -> None:
        its = [
            key[len(names.ENDPOINTS) :]
            for key, entry in self.entries.items()
            if key.startswith(names.ENDPOINTS) and Endpoint.FromString(entry.value).lease == f"leases/l{lease}"
        ]
        self.commit([*(op for path in its for op in self._removal(path)), Delete(f"{names.LEASES}l{lease}")])

    def put_endpoint(self, service: int, endpoint: int, lease: int, *, again: bool, check: bool) -> None:
        """Registers an endpoint: again, with the creation it has, or as a new one."""
        name = endpoint_name(service, endpoint)
        key = names.ENDPOINTS + names.endpoint_path(name)
        if (
            names.service_key(service_name(service)) not in self.entries
            or f"{names.LEASES}l{lease}" not in self.entries
        ):
            return
        message = Endpoint(name=name, lease=f"leases/l{lease}", version=str(self.revision))
        message.create_time.CopyFrom(timestamp(self.revision + 1))
        if again and key in self.entries:
            message.create_time.CopyFrom(Endpoint.FromString(self.entries[key].value).create_time)
        if check:
            message.health_check.CopyFrom(HealthCheck(tcp=TcpCheck()))
        self.commit([Put(key, message.SerializeToString())])

    def delete_endpoint(self, service: int, endpoint: int, *, with_records: bool) -> None:
        path = names.endpoint_path(endpoint_name(service, endpoint))
        self.commit(self._removal(path) if with_records else [Delete(names.ENDPOINTS + path)])

    def put_health(self, service: int, endpoint: int, state: HealthState.ValueType) -> None:
        record = HealthRecord(
            state=state, cause=str(self.revision), endpoint_create_time=self._created(service, endpoint)
        )
        self.commit([Put(names.HEALTH + self._path(service, endpoint), record.SerializeToString())])

    def put_drain(self, service: int, endpoint: int) -> None:
        record = DrainRecord(cause=str(self.revision), endpoint_create_time=self._created(service, endpoint))
        self.commit([Put(names.DRAINS + self._path(service, endpoint), record.SerializeToString())])

    def delete_drain(self, service: int, endpoint: int) -> None:
        self.commit([Delete(names.DRAINS + self._path(service, endpoint))])

    @staticmethod
    def _path(service: int, endpoint: int) -> str:
        return names.endpoint_path(endpoint_name(service, endpoint))

    def _created(self, service: int, endpoint: int) -> Timestamp:
        entry = self.entries.get(names.ENDPOINTS + self._path(service, endpoint))
        return Endpoint.FromString(entry.value).create_time if entry is not None else timestamp(1)
