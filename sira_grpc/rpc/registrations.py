"""What a kernel serves: its servicers, each with the generated function that adds it to a server."""

from __future__ import annotations

from dataclasses import dataclass

from envoy.service.load_stats.v3.lrs_pb2_grpc import add_LoadReportingServiceServicer_to_server
from envoy.service.status.v3.csds_pb2_grpc import add_ClientStatusDiscoveryServiceServicer_to_server
from sira.bus.v1.dead_letter_service_pb2_grpc import add_DeadLetterServiceServicer_to_server
from sira.bus.v1.publish_service_pb2_grpc import add_PublishServiceServicer_to_server
from sira.bus.v1.subscription_service_pb2_grpc import add_SubscriptionServiceServicer_to_server
from sira.bus.v1.topic_service_pb2_grpc import add_TopicServiceServicer_to_server
from sira.cluster.internal.v1.peer_service_pb2_grpc import add_PeerServiceServicer_to_server
from sira.cluster.v1.cluster_service_pb2_grpc import add_ClusterServiceServicer_to_server
from sira.cluster.v1.election_service_pb2_grpc import add_ElectionServiceServicer_to_server
from sira.cluster.v1.lock_service_pb2_grpc import add_LockServiceServicer_to_server
from sira.identity.v1.authority_service_pb2_grpc import add_AuthorityServiceServicer_to_server
from sira.identity.v1.identity_service_pb2_grpc import add_IdentityServiceServicer_to_server
from sira.kernel.v1.kernel_service_pb2_grpc import add_KernelServiceServicer_to_server
from sira.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from sira.registry.v1.resolver_service_pb2_grpc import add_ResolverServiceServicer_to_server
from sira.xds.v1.client_service_pb2_grpc import add_ClientServiceServicer_to_server

from sira_grpc.bus.bus import Bus
from sira_grpc.cluster.cluster import Cluster
from sira_grpc.cluster.locking import Locking
from sira_grpc.config import RegistryConfig
from sira_grpc.identity.identity import Identity
from sira_grpc.registry.registry import Registry
from sira_grpc.rpc.authority_servicer import AuthorityServicer
from sira_grpc.rpc.cluster_servicer import ClusterServicer
from sira_grpc.rpc.dead_letter_servicer import DeadLetterServicer
from sira_grpc.rpc.election_servicer import ElectionServicer
from sira_grpc.rpc.forwarding import Forwarding
from sira_grpc.rpc.identity_servicer import IdentityServicer
from sira_grpc.rpc.kernel_servicer import KernelServicer
from sira_grpc.rpc.lock_servicer import LockServicer
from sira_grpc.rpc.peer_servicer import PeerServicer
from sira_grpc.rpc.publish_servicer import PublishServicer
from sira_grpc.rpc.registry_servicer import RegistryServicer
from sira_grpc.rpc.resolver_servicer import ResolverServicer
from sira_grpc.rpc.server import Registration
from sira_grpc.rpc.subscription_servicer import SubscriptionServicer
from sira_grpc.rpc.topic_servicer import TopicServicer
from sira_grpc.rpc.xds import discovery_registrations
from sira_grpc.rpc.xds.client_servicer import ClientServicer
from sira_grpc.rpc.xds.csds_servicer import CsdsServicer
from sira_grpc.rpc.xds.load_servicer import LoadServicer
from sira_grpc.xds.control_plane import ControlPlane
from sira_grpc.xds.explain import Explainer


@dataclass(frozen=True, slots=True)
class Served:
    """The domains whose RPCs are served.

    Attributes:
        identity: None where callers have none.
        forwarding: None where there are no other members.
    """

    cluster: Cluster
    locking: Locking
    registry: Registry
    xds: ControlPlane
    bus: Bus
    identity: Identity | None
    forwarding: Forwarding | None


def registrations(served: Served, kernel: KernelServicer, config: RegistryConfig) -> list[Registration]:
    """Returns the servicers of a kernel, but for those that every server has."""
    registry, bus, locking, identity = served.registry, served.bus, served.locking, served.identity
    made: list[Registration] = [
        (add_KernelServiceServicer_to_server, kernel),
        (add_ClusterServiceServicer_to_server, ClusterServicer(served.cluster.status)),
        (add_LockServiceServicer_to_server, LockServicer(locking.locks)),
        (add_ElectionServiceServicer_to_server, ElectionServicer(locking.elections)),
        (
            add_RegistryServiceServicer_to_server,
            RegistryServicer(registry, default_lease_ttl=config.default_lease_ttl),
        ),
        (add_ResolverServiceServicer_to_server, ResolverServicer(registry)),
        (add_TopicServiceServicer_to_server, TopicServicer(bus)),
        (add_PublishServiceServicer_to_server, PublishServicer(bus)),
        (add_SubscriptionServiceServicer_to_server, SubscriptionServicer(bus)),
        (add_DeadLetterServiceServicer_to_server, DeadLetterServicer(bus)),
    ]
    made += _xds(served)
    if identity is not None:
        made += [
            (add_IdentityServiceServicer_to_server, IdentityServicer(identity)),
            (add_AuthorityServiceServicer_to_server, AuthorityServicer(identity)),
        ]
    if served.forwarding is not None:
        made.append((add_PeerServiceServicer_to_server, PeerServicer(registry.loads, registry.drainer)))
    return made


def _xds(served: Served) -> list[Registration]:
    """What clients of xDS call, and what tells of them."""
    xds, view, member = served.xds, served.registry.view, served.cluster.placement.member
    return [
        *discovery_registrations(xds.streams),
        (add_LoadReportingServiceServicer_to_server, LoadServicer(xds.load_reports)),
        (add_ClientStatusDiscoveryServiceServicer_to_server, CsdsServicer(xds.streams)),
        (add_ClientServiceServicer_to_server, ClientServicer(Explainer(xds.streams, view, member=member))),
    ]
