"""Variants: what of a client the content of a resource depends on."""

from __future__ import annotations

from collections.abc import Hashable

from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds.http_filters import KEEP_SESSIONS
from sira_grpc.xds.node import Node
from sira_grpc.xds.subjects import Scope, Subject
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS

_DOT = "."


def variant(type_url: str, subject: Subject, node: Node, policy: TrafficPolicy) -> Hashable:
    """Returns a key that is the same for clients for which a resource is the same.

    Args:
        type_url: of the resource.
        subject: what it is about.
        node: the client.
        policy: of the service that it stands for; empty if it stands for none.
    """
    if subject.scope is Scope.TARGET:
        if type_url == ENDPOINTS:
            near, own = looks_at(policy)
            return shape(node), (node.region, node.zone) if near else None, node.id if own else ""
        namespace = "" if _DOT in subject.plain else node.namespace  # in which short names are looked up
        return node.kind, namespace, type_url == CLUSTER and bool(node.identity)
    if subject.scope is Scope.CLIENT:
        return node.kind, node.service, node.inbound
    if subject.scope is Scope.MESH:
        return node.kind, node.namespace, node.upstreams, node.egress_port
    return None


def looks_at(policy: TrafficPolicy) -> tuple[bool, bool]:
    """Returns whether the endpoints under a policy depend on where a client is, and on its id."""
    return policy.HasField("locality_failover"), policy.subset_size > 0


def shape(node: Node) -> int:
    """Returns which form of endpoints a client is sent: kinds that take the same share them.

    Clients that keep the calls of a session at an endpoint that drains are told of it; the others never look at one.
    """
    return node.kind if node.kind in KEEP_SESSIONS else 0
