"""HTTP filters: those that Sira has clients and servers use, by the names under which routes configure them."""

from __future__ import annotations

from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSession
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.message import Message
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds.node import C_CORE, ENVOY, Node
from sira_grpc.xds.packing import packed

FAULT = "envoy.filters.http.fault"
SESSION = "envoy.filters.http.stateful_session"
ACCESS = "envoy.filters.http.rbac"
ROUTER = "envoy.filters.http.router"

KEEP_SESSIONS = frozenset({C_CORE, ENVOY})
"""Kinds that know the filter of session affinity; the others reject it. Sources: gRFC A55; their registries."""


def keeps_sessions(policy: TrafficPolicy, node: Node) -> bool:
    """Whether a client keeps sessions at one endpoint, as a policy asks."""
    return policy.HasField("session_affinity") and node.kind in KEEP_SESSIONS


def injects_faults(policy: TrafficPolicy) -> bool:
    """Whether a policy has some call delayed or fail."""
    return policy.HasField("fault") or any(route.HasField("fault") for route in policy.routes)


def of_caller(policy: TrafficPolicy, node: Node) -> list[HttpFilter]:
    """Returns the filters that a client of gRPC passes its calls to a service through; routes say what they do."""
    filters = []
    if injects_faults(policy):
        filters.append(_filter(FAULT, HTTPFault()))
    if keeps_sessions(policy, node):
        filters.append(_filter(SESSION, StatefulSession()))
    return [*filters, _filter(ROUTER, Router())]


def of_egress() -> list[HttpFilter]:
    """Returns the filters of calls that leave through a sidecar.

    All that any route may configure: a listener whose filters change drains its connections.
    """
    configs = {FAULT: HTTPFault(), SESSION: StatefulSession(), ROUTER: Router(suppress_envoy_headers=True)}
    return [_filter(name, config) for name, config in configs.items()]


def of_inbound(access: RBAC) -> list[HttpFilter]:
    """Returns the filters of calls that come in through a sidecar; routes say which rules count instead of these."""
    return [_filter(ACCESS, access), _filter(ROUTER, Router(suppress_envoy_headers=True))]


def of_server(access: RBAC | None) -> list[HttpFilter]:
    """Returns the filters that a server of gRPC passes calls through; None lets everybody call."""
    router = _filter(ROUTER, Router())
    return [router] if access is None else [_filter(ACCESS, access), router]


def _filter(name: str, config: Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=packed(config))
