"""Who may call what, as a table: every method that the kernel serves, and every kind of caller."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf import descriptor_pool
from sira.bus.v1 import dead_letter_service_pb2, publish_service_pb2, subscription_service_pb2, topic_service_pb2
from sira.cluster.internal.v1 import peer_service_pb2
from sira.cluster.v1 import cluster_service_pb2, election_service_pb2, lock_service_pb2
from sira.identity.v1 import authority_service_pb2, identity_service_pb2
from sira.kernel.v1 import kernel_service_pb2
from sira.registry.v1 import registry_service_pb2 as registry
from sira.registry.v1 import resolver_service_pb2
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.service_pb2 import Service
from sira.xds.v1 import client_service_pb2

from sira_grpc.config import Access
from sira_grpc.errors import PermissionDenied, Unauthenticated
from sira_grpc.identity.callers import Caller
from sira_grpc.rpc.interceptors import AccessRules
from sira_grpc.svid.spiffe_id import SpiffeId

OPERATOR, OWN, NODE, MEMBER, PLUGIN, OTHER = (
    SpiffeId.parse(f"spiffe://example.org/{path}")
    for path in ("operator/o", "ns/default/svc/web", "node/n", "member/m", "plugin/p", "something/else")
)
KINDS = {"operator": OPERATOR, "service": OWN, "node": NODE, "member": MEMBER, "plugin": PLUGIN, "other": OTHER}
EVERYBODY = {"anonymous", *KINDS}
IDENTITIES = set(KINDS)
SERVICES = {"operator", "service"}
OPERATORS = {"operator"}

REGISTRY = "sira.registry.v1.RegistryService"
IDENTITY = "sira.identity.v1.IdentityService"
TOPICS = "sira.bus.v1.TopicService"
SUBSCRIPTIONS = "sira.bus.v1.SubscriptionService"
DEAD_LETTERS = "sira.bus.v1.DeadLetterService"
LOCKS = "sira.cluster.v1.LockService"
ELECTIONS = "sira.cluster.v1.ElectionService"
BUS_READS = (
    *(f"{TOPICS}/{method}" for method in ("GetTopic", "ListTopics", "VerifyTopic")),
    *(f"{SUBSCRIPTIONS}/{method}" for method in ("GetSubscription", "ListSubscriptions")),
    *(f"{DEAD_LETTERS}/{method}" for method in ("ListDeadLetters", "GetDeadLetter")),
)
LOCK_READS = (
    *(f"{LOCKS}/{method}" for method in ("GetLock", "ListLocks")),
    *(f"{ELECTIONS}/{method}" for method in ("GetElection", "Observe")),
)
DISCOVERY = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
    "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    *(
        f"envoy.service.{noun.lower()}.v3.{noun}DiscoveryService/{shape}{noun}s"
        for noun in ("Listener", "Route", "Cluster", "Endpoint", "Secret")
        for shape in ("Stream", "Delta", "Fetch")
    ),
}
TABLE: dict[str, set[str]] = {
    "grpc.health.v1.Health/Check": EVERYBODY,
    "grpc.health.v1.Health/Watch": EVERYBODY,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": IDENTITIES,
    "grpc.channelz.v1.Channelz/GetServers": OPERATORS,
    "envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus": OPERATORS,
    **{f"sira.xds.v1.ClientService/{method}": OPERATORS for method in ("ListClients", "ExplainClient")},
    **dict.fromkeys(sorted(DISCOVERY), IDENTITIES),
    "envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats": IDENTITIES,
    "sira.kernel.v1.KernelService/GetStatus": IDENTITIES,
    **{f"sira.cluster.v1.ClusterService/{method}": IDENTITIES for method in ("GetCluster", "WatchCluster")},
    **{
        f"sira.registry.v1.ResolverService/{method}": IDENTITIES
        for method in (
            *("Resolve", "Watch", "GetNamespace", "ListNamespaces", "GetService", "ListServices"),
            *("GetEndpoint", "ListEndpoints", "GetLease", "ListLeases", "ListEvents"),
        )
    },
    **{
        f"{REGISTRY}/{method}": OPERATORS
        for method in (
            *("CreateNamespace", "UpdateNamespace", "DeleteNamespace", "CreateService", "DeleteService"),
            "DeleteEndpoint",
        )
    },
    **{
        f"{REGISTRY}/{method}": SERVICES
        for method in (
            *("RegisterEndpoints", "HoldLease", "UpdateEndpoint", "UpdateService"),
            *("DeregisterEndpoints", "Drain", "CancelDrain"),
        )
    },
    **{f"{REGISTRY}/{method}": IDENTITIES for method in ("RenewLeases", "RevokeLease", "ReportHealth", "ReportLoad")},
    f"{IDENTITY}/IssueCertificate": EVERYBODY,
    f"{IDENTITY}/GetTrustBundle": EVERYBODY,
    f"{IDENTITY}/IssueJwt": IDENTITIES,
    f"{IDENTITY}/WatchTrustBundles": IDENTITIES,
    **{
        f"sira.identity.v1.AuthorityService/{method}": OPERATORS
        for method in (
            *("GetIdentityStatus", "CreateJoinToken", "ListJoinTokens", "DeleteJoinToken", "ListCertificates"),
            *("RevokeCertificates", "StartRotation", "AdvanceRotation", "CancelRotation"),
            *("SetFederatedBundle", "ListFederatedBundles", "DeleteFederatedBundle"),
        )
    },
    **dict.fromkeys(BUS_READS, IDENTITIES),
    f"{TOPICS}/CreateTopic": IDENTITIES,
    **{f"{TOPICS}/{method}": OPERATORS for method in ("UpdateTopic", "DeleteTopic")},
    **{f"{SUBSCRIPTIONS}/{method}": IDENTITIES for method in ("CreateSubscription", "Subscribe")},
    **{
        f"{SUBSCRIPTIONS}/{method}": OPERATORS
        for method in (
            *("UpdateSubscription", "DeleteSubscription", "SeekSubscription"),
            *("PauseSubscription", "ResumeSubscription"),
        )
    },
    **{f"sira.bus.v1.PublishService/{method}": IDENTITIES for method in ("Publish", "PublishFrames")},
    **{f"{DEAD_LETTERS}/{method}": OPERATORS for method in ("RedriveDeadLetters", "PurgeDeadLetters")},
    **{f"{LOCKS}/{method}": IDENTITIES for method in ("HoldLock", "AcquireLock", "RenewLock", "ReleaseLock")},
    **{f"{ELECTIONS}/{method}": IDENTITIES for method in ("Campaign", "Resign")},
    **dict.fromkeys(LOCK_READS, IDENTITIES),
    **{f"sira.cluster.internal.v1.PeerService/{method}": set() for method in ("FollowLoads", "AwaitDrain")},
    "some.other.v1.Service/Method": OPERATORS,
}
READABLE = (
    {
        method
        for method in TABLE
        if method.startswith(
            (
                *("grpc.", "envoy.service.status.", "sira.kernel.", "sira.cluster.v1.ClusterService/"),
                *("sira.registry.v1.ResolverService/", "sira.xds."),
            )
        )
    }
    | DISCOVERY
    | {f"{IDENTITY}/IssueCertificate", f"{IDENTITY}/GetTrustBundle", *BUS_READS, *LOCK_READS}
)
"""What callers without identity may call where the configuration lets them read."""


def call(method: str, identity: SpiffeId | None) -> Any:
    caller = Caller(identity, str(identity), "1", 0, 2**62) if identity is not None else None
    return cast(Any, SimpleNamespace(method=SimpleNamespace(name=method), credential=caller))


def may(method: str, identity: SpiffeId | None, anonymous: Access = "none") -> bool:
    try:
        AccessRules(anonymous).authorize(call(method, identity))
    except (Unauthenticated, PermissionDenied) as error:
        return {Unauthenticated: identity is not None, PermissionDenied: identity is None}[type(error)]
    return True


def test_every_method_of_ours_has_a_row() -> None:
    pool = descriptor_pool.Default()
    services = [
        module.DESCRIPTOR.services_by_name[name]
        for module, name in (
            (registry, "RegistryService"),
            (resolver_service_pb2, "ResolverService"),
            (kernel_service_pb2, "KernelService"),
            (cluster_service_pb2, "ClusterService"),
            (peer_service_pb2, "PeerService"),
            (lock_service_pb2, "LockService"),
            (election_service_pb2, "ElectionService"),
            (identity_service_pb2, "IdentityService"),
            (authority_service_pb2, "AuthorityService"),
            (topic_service_pb2, "TopicService"),
            (subscription_service_pb2, "SubscriptionService"),
            (publish_service_pb2, "PublishService"),
            (dead_letter_service_pb2, "DeadLetterService"),
            (client_service_pb2, "ClientService"),
        )
    ]
    ours = {f"{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert {method for method in TABLE if method.startswith("sira.")} == ours
    assert all(pool.FindServiceByName(service.full_name) for service in services)


@pytest.mark.parametrize("method", TABLE)
def test_who_may_call_it(method: str) -> None:
    allowed = {kind for kind, identity in KINDS.items() if may(method, identity)}
    allowed |= {"anonymous"} if may(method, None) else set()
    assert allowed == TABLE[method]


@pytest.mark.parametrize("method", TABLE)
def test_who_has_no_identity_may_read_where_that_is_allowed(method: str) -> None:
    assert may(method, None, "read") == (method in READABLE)


NAMES = {
    "its own": ("namespaces/default/services/web", True),
    "another": ("namespaces/default/services/webshop", False),
    "of another namespace": ("namespaces/other/services/web", False),
    "malformed": ("web", False),
}
ENDPOINT = "/endpoints/a"
ABOUT: dict[str, Any] = {
    "RegisterEndpoints": lambda name: registry.RegisterEndpointsRequest(endpoints=[Endpoint(name=name + ENDPOINT)]),
    "HoldLease": lambda name: registry.HoldLeaseRequest(endpoints=[Endpoint(name=name + ENDPOINT)]),
    "HoldLease, deregister": lambda name: registry.HoldLeaseRequest(deregister=[name + ENDPOINT]),
    "UpdateEndpoint": lambda name: registry.UpdateEndpointRequest(endpoint=Endpoint(name=name + ENDPOINT)),
    "UpdateService": lambda name: registry.UpdateServiceRequest(service=Service(name=name)),
    "DeregisterEndpoints": lambda name: registry.DeregisterEndpointsRequest(names=[name + ENDPOINT]),
    "Drain": lambda name: registry.DrainRequest(names=[name]),
    "CancelDrain": lambda name: registry.CancelDrainRequest(names=[name]),
}


@pytest.mark.parametrize("whose", NAMES)
@pytest.mark.parametrize("about", ABOUT)
def test_a_service_acts_for_itself_alone(about: str, whose: str) -> None:
    name, allowed = NAMES[whose]
    method = f"{REGISTRY}/{about.partition(',')[0]}"
    rules = AccessRules("none")
    request = ABOUT[about](name)
    rules.authorize_request(call(method, OPERATOR), request)
    if allowed:
        rules.authorize_request(call(method, OWN), request)
        return
    with pytest.raises(PermissionDenied) as refused:
        rules.authorize_request(call(method, OWN), request)
    assert refused.value.metadata["resource"].startswith(name)


def test_each_name_of_a_request_counts() -> None:
    mixed = registry.DrainRequest(names=["namespaces/default/services/web", "namespaces/default/services/pay"])
    with pytest.raises(PermissionDenied):
        AccessRules("none").authorize_request(call(f"{REGISTRY}/Drain", OWN), mixed)
