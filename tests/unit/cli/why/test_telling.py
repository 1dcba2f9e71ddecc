"""What `sira why` prints of a client."""

from __future__ import annotations

from sira.registry.v1.locality_pb2 import Locality
from sira.xds.v1.client_pb2 import Client, ClientKind, ClientResource, ResourceState
from sira.xds.v1.client_service_pb2 import ExplainedClient

from sira_grpc.cli.why import telling
from sira_grpc.cli.why.findings import Finding
from sira_grpc.xds.capabilities import Limit
from sira_grpc.xds.type_urls import CLUSTER, LISTENER, ROUTES, SECRET

CLIENT = Client(
    stream="s1",
    node="n[a]",
    identity="spiffe://d/ns/shop/svc/cart",
    kind=ClientKind.CLIENT_KIND_C_CORE,
    user_agent="gRPC C-core",
    service="namespaces/shop/services/cart",
    locality=Locality(region="eu", zone="a"),
    resources=4,
    rejected=1,
)
CHECKOUT = "namespaces/shop/services/checkout"


def test_a_client_in_a_row() -> None:
    row = [cell(CLIENT) for _, cell in telling.CLIENTS]
    assert row == ["n\\[a]", "shop/cart", "c-core", "gRPC C-core", "eu/a", "4", "[red]1[/]", ""]
    assert [telling.kind(value) for value in ClientKind.values()] == ["", "c-core", "go", "java", "node", "envoy"]


def test_a_client_in_a_line() -> None:
    told = telling.heading(CLIENT)
    assert told.startswith("[bold]n\\[a][/] (spiffe://d/ns/shop/svc/cart, gRPC C-core, state of the world, connected")
    assert telling.heading(Client(stream="s1", delta=True)).startswith("[bold]s1[/] (delta, connected")


def test_a_resource_in_a_row() -> None:
    resource = ClientResource(type_url=CLUSTER, name="x", state=ResourceState.RESOURCE_STATE_SENT, sent_version="1")
    assert [cell(resource) for _, cell in telling.RESOURCES] == ["Cluster", "x", "[cyan]SENT[/]", "1", "gone"]
    resource.current_version = "1"
    assert telling.RESOURCES[-1][1](resource) == "same"
    assert {telling.state(value) for value in ResourceState.values()} >= {"UNSPECIFIED", "[red]REJECTED[/]"}


def test_resources_come_in_the_order_in_which_they_are_asked_for() -> None:
    types = (SECRET, CLUSTER, ROUTES, LISTENER)
    ordered = telling.in_order(ClientResource(type_url=each, name="x") for each in types)
    assert [each.type_url for each in ordered] == [LISTENER, ROUTES, CLUSTER, SECRET]


def test_what_there_is_to_say() -> None:
    rejected = ClientResource(type_url=CLUSTER, name="x", rejection="[no] good", sent_version="1", current_version="1")
    changed = ClientResource(type_url=LISTENER, name="y", sent_version="1", current_version="2", current_json="a")
    finding = Finding(
        ExplainedClient(client=CLIENT, resources=[rejected, changed]),
        ("RouteConfiguration",),
        (Limit("service.x", "it does not", "gRFC A1", refused=False),),
    )
    assert list(telling.notes(finding, CHECKOUT)) == [
        "--- y as sent (1)",
        "+++ y as it is (2)",
        "@@ -0,0 +1 @@",
        "+a",
        "[red]rejected[/] Cluster x: \\[no] good",
        "not subscribed: no RouteConfiguration of checkout.shop; it asks for each only once it uses the one before",
        "not done by c-core: service.x: it does not (gRFC A1)",
    ]
    data = telling.data(finding)
    assert (data["notSubscribed"], data["client"]["node"]) == (["RouteConfiguration"], "n[a]")
    assert data["limits"] == [{"field": "service.x", "why": "it does not", "source": "gRFC A1", "refused": False}]


def test_who_has_called_nothing_is_told_so() -> None:
    finding = Finding(ExplainedClient(client=CLIENT), ("Listener", "Cluster"))
    assert list(telling.notes(finding, CHECKOUT)) == [
        "not subscribed: no Listener, Cluster of checkout.shop; nothing in it has called xds:///checkout.shop"
    ]


def test_what_is_left_out_is_told_where_all_was_asked_for() -> None:
    finding = Finding(ExplainedClient(client=CLIENT, resources=[ClientResource()]))
    assert list(telling.notes(finding, "")) == ["3 resources more: name a service to see what concerns it"]
    assert list(telling.notes(finding, CHECKOUT)) == []
