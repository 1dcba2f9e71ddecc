"""What is said of a client besides its resources."""

from __future__ import annotations

import pytest
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TrafficPolicy
from sira.xds.v1.client_pb2 import Client, ClientKind, ClientResource
from sira.xds.v1.client_service_pb2 import ExplainedClient

from sira_grpc.cli.why.findings import TYPES, difference, examine
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES

CHECKOUT = "namespaces/shop/services/checkout"
ALL = (LISTENER, ROUTES, CLUSTER, ENDPOINTS)


def explained(*types: str, service: str = "") -> ExplainedClient:
    """A client that has asked for resources of types."""
    client = Client(kind=ClientKind.CLIENT_KIND_C_CORE, service=service)
    return ExplainedClient(client=client, resources=[ClientResource(type_url=each, name="x") for each in types])


@pytest.mark.parametrize(
    ("asked", "missing"),
    [(ALL, ()), ((), TYPES), ((LISTENER,), TYPES[1:]), ((LISTENER, ROUTES, CLUSTER), TYPES[3:])],
)
def test_what_a_client_has_not_asked_for(asked: tuple[str, ...], missing: tuple[str, ...]) -> None:
    assert examine(explained(*asked), CHECKOUT, None).asked_not == missing


def test_a_server_needs_no_more_than_its_listener() -> None:
    assert examine(explained(LISTENER, service=CHECKOUT), CHECKOUT, None).asked_not == ()
    assert examine(explained(service=CHECKOUT), CHECKOUT, None).asked_not == TYPES


def test_without_a_service_nothing_is_missed() -> None:
    assert examine(explained(), "", None).asked_not == ()


def test_what_its_kind_does_not_do() -> None:
    policy = TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_LEAST_REQUEST)
    finding = examine(explained(*ALL), CHECKOUT, Service(name=CHECKOUT, traffic_policy=policy))
    assert [limit.field for limit in finding.limits] == ["service.traffic_policy.lb_policy"]


def test_a_difference_is_a_diff() -> None:
    changed = ClientResource(
        name="x", sent_version="1", current_version="2", sent_json="{\n  1\n}", current_json="{\n  2\n}"
    )
    told = ["--- x as sent (1)", "+++ x as it is (2)", "@@ -1,3 +1,3 @@", " {", "-  1", "+  2", " }"]
    assert list(difference(changed)) == told


def test_what_is_the_same_differs_in_nothing() -> None:
    assert list(difference(ClientResource(sent_version="1", current_version="1"))) == []
    assert list(difference(ClientResource())) == []


def test_what_is_gone_or_new_differs_in_all() -> None:
    gone = list(difference(ClientResource(name="x", sent_version="1", sent_json="a")))
    assert gone == ["--- x as sent (1)", "+++ x as it is (gone)", "@@ -1 +0,0 @@", "-a"]
    new = list(difference(ClientResource(name="x", current_version="1", current_json="a")))
    assert new == ["--- x as sent (nothing)", "+++ x as it is (1)", "@@ -0,0 +1 @@", "+a"]
