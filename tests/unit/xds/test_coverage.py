from __future__ import annotations

import pytest
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds.coverage import covered
from sira_grpc.xds.names import Target
from sira_grpc.xds.node import ENVOY, GO, Inbound, Node
from sira_grpc.xds.references import References
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from tests.unit.xds.mesh import API, NAMESPACE, WEB, Mesh
from tests.unit.xds.test_references import to

OTHER = f"{NAMESPACE}/services/other"
SIDECAR = Node("s", kind=ENVOY, inbound=(Inbound(80, 8080),), egress_port=9000)
NARROW = Node("n", kind=ENVOY, upstreams=frozenset({API, f"{NAMESPACE}/services/none"}))
CLIENT = Node("c", kind=GO)

ALL = {"web.default", "api.default", "other.default"}
SUBSET = "web.default|version=v2"


@pytest.mark.parametrize(
    ("node", "type_url", "expected"),
    [
        (SIDECAR, CLUSTER, ALL | {SUBSET, "inbound:80"}),
        (SIDECAR, ENDPOINTS, ALL | {SUBSET}),
        (SIDECAR, LISTENER, {"egress", "inbound:80"}),
        (SIDECAR, ROUTES, {"egress", "inbound:80"}),
        (SIDECAR, SECRET, {"trust"}),
        (SIDECAR, "type.googleapis.com/none", set()),
        (NARROW, CLUSTER, {"api.default", SUBSET}),
        (NARROW, ENDPOINTS, {"api.default", SUBSET}),
        (NARROW, LISTENER, set()),
        (NARROW, ROUTES, set()),
        (CLIENT, CLUSTER, ALL | {SUBSET}),
        (CLIENT, LISTENER, ALL),
        (CLIENT, ROUTES, ALL),
    ],
)
def test_covered(node: Node, type_url: str, expected: set[str]) -> None:
    mesh = Mesh(trust_domain="td")
    for service in (WEB, API, OTHER):
        mesh.service(service)
    references = References()
    references.update(API, to(Target(WEB, "v2"), Target(f"{NAMESPACE}/services/gone")), 1, 0.0)
    references.update(OTHER, TrafficPolicy(), 1, 0.0)
    assert covered(mesh.world, references, type_url, node) == expected
