"""The rules of who may call what, as one table: by the kind of the caller's identity, and what the request is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from sira_grpc.config import Access
from sira_grpc.errors import PermissionDenied, Unauthenticated
from sira_grpc.rpc.call import Call
from sira_grpc.svid.spiffe_id import OPERATOR, SERVICE, SpiffeId

REGISTRY = "sira.registry.v1.RegistryService/"
RESOLVER = "sira.registry.v1.ResolverService/"
KERNEL = "sira.kernel.v1.KernelService/"
IDENTITY = "sira.identity.v1.IdentityService/"
AUTHORITY = "sira.identity.v1.AuthorityService/"
TOPICS = "sira.bus.v1.TopicService/"
SUBSCRIPTIONS = "sira.bus.v1.SubscriptionService/"
PUBLISH = "sira.bus.v1.PublishService/"
DEAD_LETTERS = "sira.bus.v1.DeadLetterService/"
CLUSTER = "sira.cluster.v1.ClusterService/"
PEERS = "sira.cluster.internal.v1.PeerService"
LOCKS = "sira.cluster.v1.LockService/"
ELECTIONS = "sira.cluster.v1.ElectionService/"
CLIENTS = "sira.xds.v1.ClientService/"
DISCOVERY = (
    *("discovery.v3.AggregatedDiscoveryService", "listener.v3.ListenerDiscoveryService"),
    *("route.v3.RouteDiscoveryService", "cluster.v3.ClusterDiscoveryService"),
    *("endpoint.v3.EndpointDiscoveryService", "secret.v3.SecretDiscoveryService"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method. An operator may call every one but those of members.

    Attributes:
        open: everybody may, without an identity too.
        identities: everybody with an identity may.
        services: the resource names of the services, or of what is below them, that a request is about: a service may
            call it for itself. None where that says nothing.
        members: only members may, by their signature, which is looked at before any rule.
        reads: it changes nothing: callers without identity may, where the configuration lets them read.
    """

    open: bool = False
    identities: bool = False
    services: Callable[[Any], Iterable[str]] | None = None
    members: bool = False
    reads: bool = False


def _endpoints(request: Any) -> list[str]:
    return [endpoint.name for endpoint in request.endpoints]


def _held(request: Any) -> list[str]:
    return [*_endpoints(request), *request.deregister]


OPEN = Rule(open=True, reads=True)
READ = Rule(identities=True, reads=True)
# The lease key is the proof, which nobody has but who registered.
BY_KEY = Rule(identities=True)
BY_IDENTITY = Rule(identities=True)
BY_OPERATOR = Rule()
BY_MEMBER = Rule(members=True)

RULES: Mapping[str, Rule] = {
    "grpc.health.v1.Health/": OPEN,
    "grpc.reflection.v1alpha.ServerReflection/": READ,
    "grpc.channelz.v1.Channelz/": Rule(reads=True),
    "envoy.service.status.v3.ClientStatusDiscoveryService/": Rule(reads=True),
    CLIENTS: Rule(reads=True),
    # What clients are configured with. A secret is never among it: SDS has roots only.
    **{f"envoy.service.{service}/": READ for service in DISCOVERY},
    "envoy.service.load_stats.v3.LoadReportingService/": BY_IDENTITY,
    KERNEL: READ,
    CLUSTER: READ,
    f"{PEERS}/": BY_MEMBER,
    RESOLVER: READ,
    f"{REGISTRY}RegisterEndpoints": Rule(services=_endpoints),
    f"{REGISTRY}HoldLease": Rule(services=_held),
    f"{REGISTRY}UpdateEndpoint": Rule(services=lambda request: [request.endpoint.name]),
    f"{REGISTRY}UpdateService": Rule(services=lambda request: [request.service.name]),
    f"{REGISTRY}Drain": Rule(services=lambda request: request.names),
    f"{REGISTRY}CancelDrain": Rule(services=lambda request: request.names),
    f"{REGISTRY}DeregisterEndpoints": Rule(services=lambda request: request.names),
    f"{REGISTRY}RenewLeases": BY_KEY,
    f"{REGISTRY}RevokeLease": BY_KEY,
    f"{REGISTRY}ReportHealth": BY_KEY,
    f"{REGISTRY}ReportLoad": BY_KEY,
    REGISTRY: BY_OPERATOR,
    # The ground is in the request: a join token, or the caller's certificate.
    f"{IDENTITY}IssueCertificate": OPEN,
    f"{IDENTITY}GetTrustBundle": OPEN,
    IDENTITY: BY_IDENTITY,
    AUTHORITY: BY_OPERATOR,
    # Whoever publishes or consumes declares what it needs; to change or remove it concerns others.
    f"{TOPICS}CreateTopic": BY_IDENTITY,
    f"{TOPICS}GetTopic": READ,
    f"{TOPICS}ListTopics": READ,
    f"{TOPICS}VerifyTopic": READ,
    TOPICS: BY_OPERATOR,
    f"{SUBSCRIPTIONS}CreateSubscription": BY_IDENTITY,
    f"{SUBSCRIPTIONS}GetSubscription": READ,
    f"{SUBSCRIPTIONS}ListSubscriptions": READ,
    f"{SUBSCRIPTIONS}Subscribe": BY_IDENTITY,
    SUBSCRIPTIONS: BY_OPERATOR,
    PUBLISH: BY_IDENTITY,
    # A lock has no owner but who has its key.
    f"{LOCKS}RenewLock": BY_KEY,
    f"{LOCKS}ReleaseLock": BY_KEY,
    f"{LOCKS}GetLock": READ,
    f"{LOCKS}ListLocks": READ,
    LOCKS: BY_IDENTITY,
    f"{ELECTIONS}Resign": BY_KEY,
    f"{ELECTIONS}GetElection": READ,
    f"{ELECTIONS}Observe": READ,
    ELECTIONS: BY_IDENTITY,
    f"{DEAD_LETTERS}ListDeadLetters": READ,
    f"{DEAD_LETTERS}GetDeadLetter": READ,
    DEAD_LETTERS: BY_OPERATOR,
}
"""By method, or by `package.Service/` for the methods that are not named. What is in neither is for operators."""


def rule_of(method: str) -> Rule:
    """Returns the rule of a method, `package.Service/Method`."""
    return RULES.get(method) or RULES.get(method[: method.rindex("/") + 1]) or BY_OPERATOR


def members_only(call: Call, *, known: bool) -> PermissionDenied | Unauthenticated:
    """Makes the error of a call that nobody may make but members; `known` says that the caller has an identity."""
    return (PermissionDenied if known else Unauthenticated)(
        f"{call.method.name} is for members of the cluster, which sign their calls",
        metadata={"method": call.method.name},
    )


class AccessRules:
    """An authorizer that keeps to the table.

    Args:
        anonymous: what callers without identity may do besides what is open to everybody.
    """

    def __init__(self, anonymous: Access) -> None:
        self._anonymous = anonymous
        self._rules: dict[str, Rule] = {}

    def authorize(self, call: Call) -> None:
        """See Authorizer."""
        rule = self._rule(call)
        if rule.open:
            return
        if rule.members:
            raise members_only(call, known=call.credential is not None)
        if call.credential is None:
            if self._anonymous == "write" or (self._anonymous == "read" and rule.reads):
                return
            raise Unauthenticated(
                f"{call.method.name} needs a certificate or token of this trust domain",
                metadata={"method": call.method.name},
            )
        identity = call.credential.identity
        if identity.kind == OPERATOR or rule.identities or (rule.services is not None and identity.kind == SERVICE):
            return
        raise PermissionDenied(
            f"{identity} may not call {call.method.name}",
            metadata={"method": call.method.name, "identity": str(identity)},
        )

    def authorize_request(self, call: Call, message: Message) -> None:
        """See Authorizer."""
        rule = self._rule(call)
        if rule.services is None or call.credential is None or call.credential.identity.kind != SERVICE:
            return
        identity = call.credential.identity
        for name in rule.services(message):
            if not _owns(identity, name):
                raise PermissionDenied(
                    f"{identity} may not do this to {name}, only to {identity.service_name}",
                    metadata={"method": call.method.name, "identity": str(identity), "resource": name},
                )

    def _rule(self, call: Call) -> Rule:
        rule = self._rules.get(call.method.name)
        if rule is None:
            rule = self._rules[call.method.name] = rule_of(call.method.name)
        return rule


def _owns(identity: SpiffeId, name: str) -> bool:
    return name == identity.service_name or name.startswith(f"{identity.service_name}/")
