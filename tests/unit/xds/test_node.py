from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node as XdsNode
from google.protobuf.json_format import ParseDict

from sira_grpc.errors import InvalidField
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, MAX_INBOUND, MAX_UPSTREAMS, NODE_JS, UNKNOWN, Inbound, Node
from sira_grpc.xds.node import read_node as read
from tests.unit.xds.mesh import API, WEB


def node(told: Any = None, **fields: Any) -> Node:
    metadata = {} if told is None else {"metadata": {"sira": told}}
    return read(ParseDict({"id": "n", **fields, **metadata}, XdsNode()), None)


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        ("gRPC C-core linux Python", C_CORE),
        ("gRPC Go", GO),
        ("grpc-go", GO),
        ("gRPC Java", JAVA),
        ("gRPC Node Pure JS", NODE_JS),
        ("envoy", ENVOY),
        ("", UNKNOWN),
        ("curl", UNKNOWN),
    ],
)
def test_kinds(agent: str, kind: int) -> None:
    assert node(userAgentName=agent).kind == kind


def test_what_a_sidecar_says() -> None:
    told = {
        "inbound": [{"port": 80, "target_port": 8080}, {"port": 80}, {"port": 0.5, "target_port": 1}, "x"],
        "upstreams": ["api.default", "api.default", "web.default"],
        "egress_port": 15001,
    }
    found = node(told, cluster="web.default")
    assert (found.service, found.namespace, found.egress_port) == (WEB, "default", 15001)
    assert found.inbound == (Inbound(80, 8080),)
    assert found.upstreams == {API, WEB}


def test_an_identity_counts_before_what_it_says() -> None:
    message = ParseDict({"cluster": "api.other"}, XdsNode())
    found = read(message, SpiffeId.parse("spiffe://d/ns/default/svc/web"))
    assert (found.service, found.namespace) == (WEB, "default")


@pytest.mark.parametrize("name", ["", "web", ".", "web.", ".default", "a/b.c", "a.b/c", "a.b.c", "Web.default", "é.x"])
def test_what_is_no_service_is_left_out(name: str) -> None:
    found = node({"upstreams": [name, 5, None]}, cluster=name)
    assert (found.service, found.upstreams) == ("", frozenset())


@pytest.mark.parametrize("namespace", ["", "a/b", "A", "a.b", "x" * 64, 5, ["x"]])
def test_what_is_no_namespace_is_left_out(namespace: Any) -> None:
    assert node({"namespace": namespace}).namespace == "default"
    assert node({"namespace": "shop"}).namespace == "shop"


@pytest.mark.parametrize("told", [5, "x", [], {"upstreams": "x", "inbound": {}, "egress_port": [], "namespace": {}}])
def test_odd_metadata_is_left_out(told: Any) -> None:
    assert node(told) == Node(id="n")


@pytest.mark.parametrize(
    ("field", "limit", "one"),
    [("upstreams", MAX_UPSTREAMS, "web.default"), ("inbound", MAX_INBOUND, {"port": 80, "target_port": 80})],
)
def test_how_much_it_may_say_is_bounded(field: str, limit: int, one: Any) -> None:
    assert getattr(node({field: [one] * limit}), field)
    with pytest.raises(InvalidField, match=rf"^node\.metadata\.sira\.{field}: has at most {limit}"):
        node({field: [one] * (limit + 1)})
