from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sira.registry.v1.traffic_policy_pb2 import LocalityFailover, TrafficPolicy

from sira_grpc.xds.names import Target
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN, Inbound, Node
from sira_grpc.xds.subjects import Scope, Subject
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from sira_grpc.xds.variants import looks_at, shape, variant
from tests.unit.xds.mesh import WEB

NODE = Node("n", kind=GO, region="r", zone="a")
TARGET = Subject("web.default", Scope.TARGET, Target(WEB))
SHORT = Subject("web", Scope.TARGET, Target(WEB))
CLIENT = Subject("inbound:80", Scope.CLIENT)
MESH = Subject("egress", Scope.MESH)
TRUST = Subject("trust", Scope.TRUST)
PLAIN = TrafficPolicy()
NEAR = TrafficPolicy(locality_failover=LocalityFailover())
FEW = TrafficPolicy(subset_size=3)


@pytest.mark.parametrize(
    ("type_url", "about", "policy", "by"),
    [
        (ENDPOINTS, TARGET, PLAIN, {"kind"}),
        (ENDPOINTS, TARGET, NEAR, {"kind", "region", "zone"}),
        (ENDPOINTS, TARGET, FEW, {"kind", "id"}),
        (CLUSTER, TARGET, NEAR, {"kind", "identity"}),
        (LISTENER, TARGET, PLAIN, {"kind"}),
        (LISTENER, SHORT, PLAIN, {"kind", "namespace"}),
        (ROUTES, TARGET, PLAIN, {"kind"}),
        (LISTENER, CLIENT, PLAIN, {"kind", "service", "inbound"}),
        (ROUTES, MESH, PLAIN, {"kind", "namespace", "upstreams", "egress_port"}),
        (SECRET, TRUST, PLAIN, set()),
    ],
)
def test_what_tells_clients_apart(type_url: str, about: Subject, policy: TrafficPolicy, by: set[str]) -> None:
    other: dict[str, Any] = {
        "id": "m",
        "kind": ENVOY,
        "user_agent": "x",
        "region": "q",
        "zone": "b",
        "service": WEB,
        "namespace": "other",
        "identity": "spiffe://td/x",
        "inbound": (Inbound(80, 81),),
        "upstreams": frozenset({WEB}),
        "egress_port": 1,
    }
    assert other.keys() == set(Node.__slots__)
    mine = variant(type_url, about, NODE, policy)
    found = {
        name
        for name, value in other.items()
        if variant(type_url, about, replace(NODE, **{name: value}), policy) != mine
    }
    assert found == by


def test_shapes() -> None:
    assert {shape(Node("n", kind=kind)) for kind in (GO, JAVA, NODE_JS, UNKNOWN)} == {0}
    assert len({shape(Node("n", kind=kind)) for kind in (GO, C_CORE, ENVOY)}) == 3


def test_what_a_policy_looks_at() -> None:
    assert [looks_at(policy) for policy in (PLAIN, NEAR, FEW)] == [(False, False), (True, False), (False, True)]
