"""Access rules: which callers a server lets call which methods. Source: gRFC A41."""

from __future__ import annotations

from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from sira.registry.v1.access_policy_pb2 import AccessPolicy, AllowRule

from sira_grpc.svid.spiffe_id import MEMBER, SCHEME
from sira_grpc.xds.node import Node
from sira_grpc.xds.world import World

HEALTH = "/grpc.health.v1.Health/"

_ANY = "-"
_ANY_METHOD = "*"


def access(world: World, node: Node) -> RBAC | None:
    """Returns the rules of the service that a client runs for; None if everybody may call it.

    The members of the cluster may always ask for its health: they probe it.
    """
    entry = world.view.services.get(node.service)
    if entry is None or not entry.message.HasField("access_policy"):
        return None
    return RBAC(rules=_rules(entry.message.access_policy, world.trust_domain))


def nobody() -> RBAC:
    """Returns rules that let nobody call anything."""
    return RBAC(rules=rules_pb2.RBAC(action=rules_pb2.RBAC.Action.ALLOW))


def _rules(policy: AccessPolicy, trust_domain: str) -> rules_pb2.RBAC:
    rules = rules_pb2.RBAC(action=rules_pb2.RBAC.Action.ALLOW)
    probes = Policy(permissions=[_path(prefix=HEALTH)], principals=[_named(prefix=f"{SCHEME}{trust_domain}/{MEMBER}/")])
    rules.policies["health"].CopyFrom(probes)
    for number, rule in enumerate(policy.allow):
        rules.policies[f"allow[{number}]"].CopyFrom(_policy(rule, trust_domain))
    return rules


def _policy(rule: AllowRule, trust_domain: str) -> Policy:
    return Policy(
        permissions=[_permission(method) for method in rule.methods] or [Permission(any=True)],
        principals=[_principal(source, trust_domain) for source in rule.sources],
    )


def _permission(method: str) -> Permission:
    prefix = method.removesuffix(_ANY_METHOD)
    return _path(exact=method) if prefix == method else _path(prefix=prefix)


def _principal(source: str, trust_domain: str) -> Principal:
    """Returns the callers that a source stands for: `namespaces/{ns}/services/{svc}`, of which ids may be `-`."""
    _, namespace, _, service = source.split("/")
    services = f"{SCHEME}{trust_domain}/ns/"
    if namespace == _ANY:
        return _named(prefix=services)
    if service == _ANY:
        return _named(prefix=f"{services}{namespace}/svc/")
    return _named(exact=f"{services}{namespace}/svc/{service}")


def _path(**matcher: str) -> Permission:
    return Permission(url_path=PathMatcher(path=StringMatcher(**matcher)))


def _named(**matcher: str) -> Principal:
    return Principal(authenticated=Principal.Authenticated(principal_name=StringMatcher(**matcher)))
