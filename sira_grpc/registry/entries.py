"""The registry's resources as they are held in memory: one entry each, with the revisions they were written at."""

from __future__ import annotations

from dataclasses import dataclass, field

from sira.registry.internal.v1.drain_record_pb2 import DrainRecord
from sira.registry.internal.v1.health_record_pb2 import HealthRecord
from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.endpoint_pb2 import Endpoint, EndpointStatus
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service

from sira_grpc.watch import ChangeFeed


@dataclass(slots=True, eq=False)
class NamespaceEntry:
    """A namespace."""

    message: Namespace
    revision: int
    services: set[str] = field(default_factory=set)  # names


@dataclass(slots=True, eq=False)
class LeaseEntry:
    """A lease and what lives under it."""

    id: str
    record: LeaseRecord
    revision: int
    endpoints: set[str] = field(default_factory=set)  # names

    @property
    def suspect(self) -> bool:
        """Whether its stream was lost."""
        return self.record.HasField("suspect_time")


@dataclass(slots=True, eq=False)
class EndpointEntry:
    """An endpoint. The message is what readers get: registration, status, etag and lease in one."""

    message: Endpoint
    lease: str
    revision: int
    health: HealthRecord | None = None
    health_revision: int = 0
    drain: DrainRecord | None = None
    drain_revision: int = 0

    @property
    def healthy(self) -> bool:
        """Whether it is SERVING and not suspect."""
        status = self.message.status
        return status.state == HealthState.HEALTH_STATE_SERVING and not status.suspect

    def refresh(self, *, suspect: bool) -> None:
        """Works out the status from the registration, the health and drain records and the lease."""
        health, drain = self.health, self.drain
        created = self.message.create_time
        if not self.message.HasField("health_check"):  # nothing will ever correct what an earlier check has found
            state, cause, since = HealthState.HEALTH_STATE_SERVING, "registered without a health check", created
        elif health is not None and health.endpoint_create_time == created:
            state, cause, since = health.state, health.cause, health.state_time
        else:
            state, cause, since = HealthState.HEALTH_STATE_STARTING, "not checked yet", created
        status = EndpointStatus(state=state, suspect=suspect, cause=cause, state_time=since)
        if state == HealthState.HEALTH_STATE_SERVING:
            status.serving_time.CopyFrom(since)
        if drain is not None and drain.endpoint_create_time == created:
            status.state = HealthState.HEALTH_STATE_DRAINING
            status.cause = drain.cause or "asked to drain"
            status.state_time.CopyFrom(drain.drain_time)
        self.message.status.CopyFrom(status)

    @property
    def checked_state(self) -> HealthState.ValueType:
        """What the check last said of this registration, or STARTING."""
        if self.health is not None and self.health.endpoint_create_time == self.message.create_time:
            return self.health.state
        return HealthState.HEALTH_STATE_STARTING

    @property
    def draining(self) -> bool:
        """Whether it was asked to drain."""
        return self.message.status.state == HealthState.HEALTH_STATE_DRAINING


@dataclass(slots=True, eq=False)
class ServiceEntry:
    """A service, its endpoints by name, and the feed of their changes. The service itself is the item ""."""

    message: Service
    revision: int
    feed: ChangeFeed
    endpoints: dict[str, EndpointEntry] = field(default_factory=dict)
    healthy: int = 0  # of them
    generation: int = 0  # changes whenever the answer to a resolve may change; none is given to two services
    turn: int = -1  # of the last resolve, for policies that take turns
    encoded: dict[int, list[bytes]] = field(default_factory=dict)  # what Watch sends, by the position it starts from
    encoded_at: int = -1  # the generation that it was encoded from


SERVICE_ITEM = ""
"""The item of a service's feed that stands for the service itself."""
