"""The answers of a control plane, the same for states of the world and for changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import Resource

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

_WRAPPED = "type.googleapis.com/envoy.service.discovery.v3.Resource"
_NOT_FOUND = 5
_MESSAGES: dict[str, tuple[Any, str]] = {
    LISTENER: (Listener, "name"),
    ROUTES: (RouteConfiguration, "name"),
    CLUSTER: (Cluster, "name"),
    ENDPOINTS: (ClusterLoadAssignment, "cluster_name"),
    SECRET: (Secret, "name"),
}


@dataclass
class Answer:
    """One answer.

    Attributes:
        version: of the whole; with changes none says anything by it.
        resources: by name.
        versions: by name; with states of the world only of resources that have a TTL.
        ttls: seconds by name, of resources that have one.
        beats: names of resources that are said to be as they were.
        gone: names of which there is no resource.
    """

    type_url: str
    version: str
    nonce: str
    resources: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    ttls: dict[str, float] = field(default_factory=dict)
    beats: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)

    def addresses(self, cluster: str) -> list[str]:
        """The hosts of the endpoints of a cluster, sorted."""
        return sorted(
            endpoint.endpoint.address.socket_address.address
            for locality in self.resources[cluster].endpoints
            for endpoint in locality.lb_endpoints
        )

    def take(self, wrapped: Any) -> None:
        """Reads a resource that comes with its name and version."""
        assert wrapped.name not in {*self.resources, *self.beats}, f"{wrapped.name} comes twice"
        self.versions[wrapped.name] = wrapped.version
        if wrapped.HasField("ttl"):
            self.ttls[wrapped.name] = wrapped.ttl.ToMilliseconds() / 1000
        if wrapped.HasField("resource"):
            self.resources[wrapped.name] = self._read(wrapped.resource, wrapped.name)
        else:
            self.beats.add(wrapped.name)

    def take_bare(self, packed: Any) -> None:
        """Reads a resource that has its name in it."""
        if packed.type_url == _WRAPPED:
            self.take(Resource.FromString(packed.value))
            return
        message = self._read(packed)
        name = getattr(message, _MESSAGES[self.type_url][1])
        assert name not in self.resources, f"{name} comes twice"
        self.resources[name] = message

    def _read(self, packed: Any, name: str = "") -> Any:
        assert packed.type_url == self.type_url
        kind, name_field = _MESSAGES[self.type_url]
        message = kind.FromString(packed.value)
        assert name in ("", getattr(message, name_field))
        return message


def read_state(response: Any) -> Answer:
    """Reads a DiscoveryResponse."""
    assert response.version_info or not response.resources
    answer = Answer(response.type_url, response.version_info, response.nonce)
    for packed in response.resources:
        answer.take_bare(packed)
    for error in response.resource_errors:
        assert error.error_detail.code == _NOT_FOUND
        assert error.resource_name.name in error.error_detail.message
        answer.gone.add(error.resource_name.name)
    return answer


def read_changes(response: Any) -> Answer:
    """Reads a DeltaDiscoveryResponse."""
    answer = Answer(response.type_url, response.system_version_info, response.nonce)
    for wrapped in response.resources:
        assert wrapped.version
        answer.take(wrapped)
    assert len(set(response.removed_resources)) == len(response.removed_resources)
    answer.gone.update(response.removed_resources)
    return answer
