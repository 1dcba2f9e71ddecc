"""Route configurations: which cluster the calls to a service go to, and what the caller does with them before.

What configures a filter is said once for all routes, of the virtual host; a route says what differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, VirtualHost
from envoy.config.route.v3.route_components_pb2 import Route as XdsRoute
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from sira.registry.v1.route_pb2 import Route
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds import wire
from sira_grpc.xds.faults import http_fault, mark
from sira_grpc.xds.http_filters import FAULT, SESSION, keeps_sessions
from sira_grpc.xds.inbound_routes import inbound_routes
from sira_grpc.xds.names import EGRESS, INBOUND, service_named, short
from sira_grpc.xds.node import C_CORE, ENVOY, Node
from sira_grpc.xds.packing import packed
from sira_grpc.xds.route_actions import mirror_policy, route_action
from sira_grpc.xds.route_matches import every_call, route_matches
from sira_grpc.xds.session_affinity import stateful_session
from sira_grpc.xds.world import World

KEPT_HOSTS = 1 << 14
"""Virtual hosts that are kept, serialized."""

_ANY_HOST = "*"
_DEFAULT = "default"
_VIRTUAL_HOSTS = RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER
_UNAVAILABLE = 503  # an Envoy answers calls of gRPC with UNAVAILABLE for it


def build(world: World, name: str, node: Node) -> RouteConfiguration | bytes | None:
    """Returns the routes of a service, or of a listener of a sidecar; None if there is none such.

    Those of all services come serialized, put together from pieces that are kept.
    """
    if node.envoy and name == EGRESS:
        return _egress(world, node)
    if node.envoy and name.startswith(INBOUND):
        return inbound_routes(world, name, node)
    entry = world.view.services.get(service_named(name, ""))
    if entry is None:
        return None
    domains = [_ANY_HOST]
    if node.kind == C_CORE and (marked := mark(entry.message.traffic_policy)):
        domains.append(marked)
    return RouteConfiguration(name=name, virtual_hosts=[_virtual_host(entry.message, domains, node)])


def _egress(world: World, node: Node) -> bytes | None:
    if not node.egress_port:
        return None
    services = world.view.services
    visible = sorted(node.upstreams & services.keys() if node.upstreams else services)
    rest = RouteConfiguration(name=EGRESS, virtual_hosts=[_nowhere()], ignore_port_in_host_matching=True)
    hosts = (
        _serialized_host(each, services[each].message.traffic_policy.SerializeToString(), _domains(each, node))
        for each in visible
    )
    return b"".join((*hosts, rest.SerializeToString(deterministic=True)))


@lru_cache(maxsize=KEPT_HOSTS)
def _serialized_host(service: str, policy: bytes, domains: tuple[str, ...]) -> bytes:
    """Returns the virtual host of a service for an Envoy, as a field of a RouteConfiguration.

    It is kept: where the policy of one service of thousands changes, the others need not be made again.
    """
    message = Service(name=service, traffic_policy=TrafficPolicy.FromString(policy))
    host = _virtual_host(message, domains, Node(id="", kind=ENVOY))
    return wire.field(_VIRTUAL_HOSTS, host.SerializeToString(deterministic=True))


def _domains(service: str, node: Node) -> tuple[str, ...]:
    full = short(service)
    name, _, namespace = full.partition(".")
    return (full, name) if namespace == node.namespace else (full,)


def _nowhere() -> VirtualHost:
    """Returns where calls go to what is no service, or not one that the sidecar is for: nowhere, and they are told."""
    text = SubstitutionFormatString(
        text_format_source={"inline_string": "there is no service %REQ(:AUTHORITY)% that this sidecar is for"}
    )
    answer = DirectResponseAction(status=_UNAVAILABLE, body_format=text)
    return VirtualHost(
        name=_ANY_HOST, domains=[_ANY_HOST], routes=[XdsRoute(match=every_call(), direct_response=answer)]
    )


def _virtual_host(service: Service, domains: Iterable[str], node: Node) -> VirtualHost:
    policy = service.traffic_policy
    host = VirtualHost(name=short(service.name), domains=domains, routes=_routes(service, node))
    if policy.HasField("fault"):
        host.typed_per_filter_config[FAULT].CopyFrom(packed(http_fault(policy.fault)))
    if keeps_sessions(policy, node):
        host.typed_per_filter_config[SESSION].CopyFrom(packed(stateful_session(policy.session_affinity)))
    if node.envoy and policy.HasField("mirror"):
        host.request_mirror_policies.append(mirror_policy(service, policy.mirror))
    return host


def _routes(service: Service, node: Node) -> Iterator[XdsRoute]:
    for number, route in enumerate(service.traffic_policy.routes):
        action = route_action(service, route, node)
        for match in route_matches(route, node):
            told = XdsRoute(name=f"routes[{number}]", match=match, route=action)
            if route.HasField("fault"):
                told.typed_per_filter_config[FAULT].CopyFrom(packed(http_fault(route.fault)))
            yield told
    yield XdsRoute(name=_DEFAULT, match=every_call(), route=route_action(service, Route(), node))
