"""A registry's view fed by commits made by hand, and what the builders of resources read of it."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from sira.registry.internal.v1.drain_record_pb2 import DrainRecord
from sira.registry.internal.v1.health_record_pb2 import HealthRecord
from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HealthState, TtlCheck
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.registry import names
from sira_grpc.registry.view import RegistryView
from sira_grpc.store import Change, Commit, Entry, Snapshot
from sira_grpc.times import timestamp
from sira_grpc.xds.world import World
from tests.clocks import FakeClock

NAMESPACE = "namespaces/default"
WEB = f"{NAMESPACE}/services/web"
API = f"{NAMESPACE}/services/api"
SUSPECT = "suspect"
HELD = "held"


def service_name(service: str) -> str:
    return service if "/" in service else f"{NAMESPACE}/services/{service}"


class Mesh:
    """Services and endpoints, written as the store would."""

    def __init__(self, *, trust_domain: str = "", load_report_interval: float = 0.0) -> None:
        self.clock = FakeClock()
        self.view = RegistryView(self.clock)
        self.roots = b"-roots-" if trust_domain else b""
        self.world = World(self.view, self.clock, trust_domain, lambda: self.roots, load_report_interval)
        self._revision = 0
        self._entries: dict[str, Entry] = {}
        self.put({names.namespace_key(NAMESPACE): Namespace(name=NAMESPACE)})
        late = LeaseRecord()
        late.suspect_time.CopyFrom(timestamp(1))
        self.put({f"{names.LEASES}{HELD}": LeaseRecord(), f"{names.LEASES}{SUSPECT}": late})

    def put(self, values: dict[str, Message | None]) -> None:
        """Commits values, None for what is deleted."""
        self._revision += 1
        for key, value in values.items():
            self._entries.pop(key, None)
            if value is not None:
                self._entries[key] = Entry(key, value.SerializeToString(), self._revision)
        changes = (
            Change(k, v.SerializeToString() if v is not None else None, self._revision) for k, v in values.items()
        )
        self.view.apply(Commit(self._revision, tuple(changes)))

    def snapshot(self) -> Snapshot:
        """What the store would give a member that starts now."""
        return Snapshot(self._revision, tuple(self._entries.values()), ())

    def service(self, service: str = WEB, **fields: Any) -> None:
        """Writes a service; the fields are those of its traffic policy."""
        name = service_name(service)
        self.put({names.service_key(name): Service(name=name, traffic_policy=TrafficPolicy(**fields))})

    def delete_service(self, service: str = WEB) -> None:
        entry = self.view.services[service_name(service)]
        keys = [names.ENDPOINTS + names.endpoint_path(name) for name in entry.endpoints]
        self.put(dict.fromkeys([*keys, names.service_key(entry.message.name)]))

    def endpoint(self, endpoint: Endpoint, *, lease: str = HELD) -> None:
        """Registers an endpoint now."""
        self.put(self._registration(endpoint, lease))

    def endpoints(self, *endpoints: Endpoint) -> None:
        """Registers endpoints in one commit."""
        values: dict[str, Message | None] = {}
        for endpoint in endpoints:
            values |= self._registration(endpoint, HELD)
        self.put(values)

    def _registration(self, endpoint: Endpoint, lease: str) -> dict[str, Message | None]:
        made = Endpoint()
        made.CopyFrom(endpoint)
        made.lease = f"leases/{lease}"
        if not made.HasField("create_time"):
            made.create_time.CopyFrom(timestamp(self.clock.time_ns()))
        return {names.ENDPOINTS + names.endpoint_path(made.name): made}

    def delete_endpoint(self, id_: str, service: str = WEB) -> None:
        self.put({names.ENDPOINTS + names.endpoint_path(f"{service}/endpoints/{id_}"): None})

    def health(self, id_: str, state: HealthState.ValueType, service: str = WEB) -> None:
        """Says what the check of an endpoint found."""
        record = HealthRecord(state=state, endpoint_create_time=self._created(id_, service))
        record.state_time.CopyFrom(timestamp(self.clock.time_ns()))
        self.put({names.HEALTH + names.endpoint_path(f"{service}/endpoints/{id_}"): record})

    def drain(self, id_: str, service: str = WEB) -> None:
        record = DrainRecord(endpoint_create_time=self._created(id_, service))
        self.put({names.DRAINS + names.endpoint_path(f"{service}/endpoints/{id_}"): record})

    def _created(self, id_: str, service: str) -> Any:
        return self.view.endpoint(f"{service}/endpoints/{id_}").message.create_time


def endpoint(
    number: int, *, service: str = WEB, zone: str = "", region: str = "", check: str = "", **fields: Any
) -> Endpoint:
    """An endpoint at an address of its own, with the id `e{number}`."""
    usual: dict[str, Any] = {"addresses": [f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"], "port": 80}
    made = Endpoint(name=f"{service}/endpoints/e{number}", **(usual | fields))
    if region or zone:
        made.locality.CopyFrom(Locality(region=region, zone=zone))
    if check == "grpc":
        made.health_check.CopyFrom(HealthCheck(grpc=GrpcCheck()))
    elif check:
        made.health_check.CopyFrom(HealthCheck(ttl=TtlCheck()))
    return made
