"""The routes of the calls that leave through a sidecar: one virtual host for each service that it is for."""

from __future__ import annotations

import logging
from typing import NamedTuple

from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, VirtualHost
from envoy.config.route.v3.route_components_pb2 import Route as XdsRoute
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from sira.registry.v1.service_pb2 import Service

from sira_grpc.xds import wire
from sira_grpc.xds.footprints import footprint
from sira_grpc.xds.names import EGRESS, short
from sira_grpc.xds.node import ENVOY, Node
from sira_grpc.xds.reachable import reachable
from sira_grpc.xds.recent import Recent
from sira_grpc.xds.route_matches import every_call
from sira_grpc.xds.virtual_hosts import virtual_host
from sira_grpc.xds.world import World

log = logging.getLogger(__name__)

KEPT_BYTES = 32 << 20
"""Of the younger half of the virtual hosts that are kept."""
OVERHEAD = 256
"""Bytes that a host takes there beside its content."""

_ANY = "*"
_VIRTUAL_HOSTS = RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER
_UNAVAILABLE = 503  # an Envoy answers calls of gRPC with UNAVAILABLE for it


class _Kept(NamedTuple):
    """The virtual host of a service, as a field of a RouteConfiguration, and the policy that it was made of."""

    policy: bytes
    host: bytes


_kept: Recent[tuple[str, tuple[str, ...]], _Kept] = Recent(KEPT_BYTES)


def egress_routes(world: World, node: Node) -> bytes | None:
    """Returns the routes of the calls that leave through a sidecar, serialized; None if none do."""
    if not node.egress_port:
        return None
    services = world.view.services
    visible = sorted(node.upstreams & services.keys() if node.upstreams else services)
    rest = RouteConfiguration(name=EGRESS, virtual_hosts=[_nowhere()], ignore_port_in_host_matching=True)
    hosts = (_host(reachable(services[each].message, services), _domains(each, node)) for each in visible)
    return b"".join((*hosts, rest.SerializeToString(deterministic=True)))


def _host(service: Service, domains: tuple[str, ...]) -> bytes:
    """Returns the virtual host of a service, as a field of a RouteConfiguration.

    It is kept: where the policy of one service of thousands changes, the others need not be made again. One that cannot
    be made stays as it was, or is left out: the others must not suffer from what is wrong with it.
    """
    key, policy = (service.name, domains), service.traffic_policy.SerializeToString(deterministic=True)
    kept = _kept.get(key)
    if kept is not None and kept.policy == policy:
        return kept.host
    try:
        made = virtual_host(service, domains, Node(id="", kind=ENVOY))
        host = wire.field(_VIRTUAL_HOSTS, made.SerializeToString(deterministic=True))
    except Exception:
        log.exception("the virtual host of %s: cannot be made", service.name)
        host = kept.host if kept is not None else b""
    _kept.put(key, _Kept(policy, host), len(policy) + len(host) + footprint(key) + OVERHEAD)
    return host


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
    return VirtualHost(name=_ANY, domains=[_ANY], routes=[XdsRoute(match=every_call(), direct_response=answer)])
