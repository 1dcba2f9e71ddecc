from __future__ import annotations

import pytest
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.xds import http_filters, rbac
from sira_grpc.xds.http_filters import ACCESS, FAULT, ROUTER, SESSION
from sira_grpc.xds.node import C_CORE, GO, JAVA, NODE_JS, UNKNOWN, Node
from tests.unit.xds.policies import policed

AFFINITY = 'session_affinity { cookie: "c" }'
ABORT = "fault { abort { code: 14 percent: 1 } }"


def names(filters: list[HttpFilter]) -> list[str]:
    assert not any(each.is_optional for each in filters), "a client would go on without it"
    return [each.name for each in filters]


def of_caller(policy: str, kind: ClientKind.ValueType = C_CORE) -> list[str]:
    return names(http_filters.of_caller(policed(policy).traffic_policy, Node(id="n", kind=kind)))


def test_a_client_has_no_filter_that_it_does_not_need() -> None:
    assert of_caller("") == [ROUTER]
    assert of_caller("routes {}") == [ROUTER]


@pytest.mark.parametrize("policy", [ABORT, f"routes {{}} routes {{ {ABORT} }}"])
@pytest.mark.parametrize("kind", [C_CORE, GO, JAVA, NODE_JS, UNKNOWN])
def test_every_client_injects_faults(policy: str, kind: ClientKind.ValueType) -> None:
    assert of_caller(policy, kind) == [FAULT, ROUTER]


@pytest.mark.parametrize("kind", [GO, JAVA, NODE_JS, UNKNOWN])
def test_clients_do_not_get_a_filter_that_they_would_reject(kind: ClientKind.ValueType) -> None:
    assert of_caller(AFFINITY) == [SESSION, ROUTER]
    assert of_caller(AFFINITY, kind) == [ROUTER]


def test_an_egress_always_has_all_filters() -> None:
    assert names(http_filters.of_egress()) == [FAULT, SESSION, ROUTER]


def test_a_server_checks_access_first() -> None:
    assert names(http_filters.of_server(rbac.nobody())) == [ACCESS, ROUTER]
    assert names(http_filters.of_server(None)) == [ROUTER]


def test_an_inbound_side_checks_access_always() -> None:
    first, last = http_filters.of_inbound(rbac.nobody())
    told = RBAC()
    assert first.typed_config.Unpack(told)
    assert told == rbac.nobody()
    assert last.name == ROUTER
