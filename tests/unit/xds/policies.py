"""Services with policies, in a view of the registry, for the builders of resources to read."""

from __future__ import annotations

from google.protobuf import text_format
from sira.registry.v1.service_pb2 import Service

from sira_grpc.registry.entries import ServiceEntry
from sira_grpc.registry.view import RegistryView
from sira_grpc.watch import ChangeFeed
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN, Inbound, Node
from sira_grpc.xds.world import World
from tests.clocks import FakeClock

ECHO = "namespaces/shop/services/echo"
CART = "namespaces/shop/services/cart"
BANK = "namespaces/pay/services/bank"
TRUST_DOMAIN = "example.org"
MUTUAL = "traffic_policy { tls: TLS_MODE_MUTUAL }"

GRPC = (C_CORE, GO, JAVA, NODE_JS, UNKNOWN)
PYTHON = Node(id="python", kind=C_CORE, service=ECHO, namespace="shop")
ENVOY_NODE = Node(id="envoy", kind=ENVOY, service=ECHO, namespace="shop", egress_port=15001)
SIDECAR = Node(id="sidecar", kind=ENVOY, service=ECHO, namespace="shop", inbound=(Inbound(15006, 50051),))


def service(name: str = ECHO, text: str = "") -> Service:
    """Returns a service, of which the rest is in the text format of protobuf."""
    return text_format.Parse(text, Service(name=name))


def policed(policy: str, name: str = ECHO) -> Service:
    """Returns a service with a traffic policy in the text format."""
    return service(name, f"traffic_policy {{ {policy} }}")


def world(*services: Service, trust_domain: str = "") -> World:
    """Returns a world in which there are services."""
    clock = FakeClock()
    view = RegistryView(clock)
    for each in services:
        view.services[each.name] = ServiceEntry(each, 1, ChangeFeed(compacted=1, revision=1))
    return World(view, clock, trust_domain)
