"""What is told of clients: who they are, what concerns a service, and how much of it there is."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from sira.registry.v1.route_pb2 import Destination, Route, Split
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy
from sira.xds.v1.client_pb2 import ClientKind, ResourceState

from sira_grpc.errors import InvalidPageToken, XdsClientNotFound
from sira_grpc.registry.entries import ServiceEntry
from sira_grpc.registry.resources import Resources
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.watch import ChangeFeed
from sira_grpc.xds import explain as explaining
from sira_grpc.xds.explain import Explainer, concerns
from sira_grpc.xds.node import ENVOY, Node
from sira_grpc.xds.rendering import MAX_LIST_BYTES
from sira_grpc.xds.streams import Streams
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import Client, streams

WEB, CART = "namespaces/default/services/web", "namespaces/default/services/cart"


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def opened(source: MemorySource) -> Streams:
    return streams(source, FakeClock())


@pytest.fixture
def registry() -> Resources:
    return Resources()


@pytest.fixture
def explainer(opened: Streams, registry: Resources) -> Explainer:
    return Explainer(opened, registry, member="m1")


def client(opened: Streams, node: str, *names: str, identity: str = "", cluster: str = "") -> Client:
    """A client that has asked for clusters."""
    made = Client(
        opened.open(delta=False, identity=SpiffeId.parse(identity) if identity else None, peer="ipv4:1"),
        cluster=cluster,
    )
    made.node["id"] = node
    made.node["locality"] = {"region": "eu", "zone": "a"}
    made.ask(CLUSTER, *names)
    return made


def put(source: MemorySource, name: str, stat: str = "") -> None:
    """Has a cluster be."""
    source.put(CLUSTER, name, body=Cluster(name=name, alt_stat_name=stat).SerializeToString())


async def test_clients_are_listed_by_node(opened: Streams, source: MemorySource, explainer: Explainer) -> None:
    put(source, "web.default")
    client(opened, "b", "web.default", "none.default")
    client(opened, "a", identity="spiffe://d/ns/default/svc/web")
    client(opened, "c", cluster="cart.default")
    page, token = await explainer.list_clients("", size=2, token="")
    assert [each.node for each in page] == ["a", "b"]
    first, second = page
    assert (first.service, first.identity) == (WEB, "spiffe://d/ns/default/svc/web")
    assert (second.kind, second.resources, second.rejected, second.member) == (
        ClientKind.CLIENT_KIND_C_CORE,
        1,
        0,
        "m1",
    )
    assert (second.locality.region, second.locality.zone, second.delta) == ("eu", "a", False)
    assert second.connect_time.ToNanoseconds() == FakeClock().time_ns()
    rest, end = await explainer.list_clients("", size=2, token=token)
    assert ([each.node for each in rest], end) == (["c"], "")
    with pytest.raises(InvalidPageToken):
        await explainer.list_clients("a", size=2, token=token)


@pytest.mark.parametrize("name", ["a", "spiffe://d/ns/default/svc/web", WEB, "web.default"])
async def test_a_client_is_found_by_any_of_its_names(opened: Streams, explainer: Explainer, name: str) -> None:
    client(opened, "a", identity="spiffe://d/ns/default/svc/web")
    client(opened, "b", cluster="cart.default")
    opened.open(delta=True)  # and has said nothing so far
    assert [each.client.node for each in await explainer.explain(name, "")] == ["a"]
    assert [each.node for each in (await explainer.list_clients(name, size=0, token=""))[0]] == ["a"]


async def test_who_is_not_there_is_not_found(opened: Streams, explainer: Explainer) -> None:
    opened.open(delta=True)
    for name in ("a", "", WEB):
        with pytest.raises(XdsClientNotFound):
            await explainer.explain(name or "x", "")
    assert (await explainer.list_clients("a", size=0, token=""))[0] == []
    assert len((await explainer.list_clients("", size=0, token=""))[0]) == 1


@pytest.mark.parametrize("cluster", ["a/b.c", "a.b/c/d", ".", "x" * 3000 + ".y"])
async def test_one_that_is_odd_is_in_nobodys_way(opened: Streams, explainer: Explainer, cluster: str) -> None:
    client(opened, "odd", cluster=cluster)
    client(opened, "a", cluster="web.default")
    assert [each.client.node for each in await explainer.explain("web.default", "")] == ["a"]
    page, _ = await explainer.list_clients("odd", size=0, token="")
    assert [(each.node, each.service) for each in page] == [("odd", "")]


async def test_what_was_sent_and_what_it_would_get_now(
    opened: Streams, source: MemorySource, explainer: Explainer
) -> None:
    put(source, "web.default", "before")
    asking = client(opened, "a", "web.default", "none.default")
    asking.acked("web.default", "none.default")
    put(source, "web.default", "after")
    await opened.step()
    ((explained),) = await explainer.explain("a", "")
    missing, web = explained.resources
    assert (missing.name, missing.state) == ("none.default", ResourceState.RESOURCE_STATE_MISSING)
    assert (missing.sent_json, missing.current_json) == ("", "")
    assert web.state == ResourceState.RESOURCE_STATE_PENDING
    assert '"before"' in web.sent_json
    assert '"after"' in web.current_json
    assert web.sent_version != web.current_version


async def test_only_what_concerns_a_service_and_what_it_sends_calls_to(
    opened: Streams, source: MemorySource, registry: Resources, explainer: Explainer
) -> None:
    splits = [Split(weight=1, destination=Destination(service=CART, version="v2"))]
    web = Service(name=WEB, traffic_policy=TrafficPolicy(routes=[Route(splits=splits)]))
    registry.services[WEB] = ServiceEntry(web, 1, ChangeFeed(compacted=0, revision=1))
    client(opened, "a", "web.default", "cart.default|version=v2", "other.default")
    (explained,) = await explainer.explain("a", WEB)
    assert [each.name for each in explained.resources] == ["cart.default|version=v2", "web.default"]
    (explained,) = await explainer.explain("a", CART)
    assert [each.name for each in explained.resources] == ["cart.default|version=v2"]
    (explained,) = await explainer.explain("a", "namespaces/none/services/none")
    assert list(explained.resources) == []


@pytest.mark.parametrize(
    ("type_url", "name", "node", "expected"),
    [
        (LISTENER, "web", Node("n"), True),
        (LISTENER, "web", Node("n", namespace="shop"), False),
        (ROUTES, "xdstp://sira/envoy.config.route.v3.RouteConfiguration/web.default", Node("n"), True),
        (ENDPOINTS, "web.default|version=1", Node("n"), True),
        (ENDPOINTS, "cart.default", Node("n"), False),
        (LISTENER, "egress", Node("n", kind=ENVOY), True),
        (LISTENER, "egress", Node("n"), False),
        (CLUSTER, "inbound:80", Node("n", service=WEB), True),
        (CLUSTER, "inbound:80", Node("n", service=CART), False),
        (LISTENER, "grpc/server?xds.resource.listening_address=0.0.0.0:80", Node("n", service=WEB), True),
        (SECRET, "trust", Node("n"), True),
        (CLUSTER, "no name", Node("n"), False),
    ],
)
def test_what_concerns_a_service(type_url: str, name: str, node: Node, expected: bool) -> None:
    assert concerns(type_url, name, node, {WEB}) is expected


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the bounds of an answer small."""
    monkeypatch.setattr(explaining, "MAX_CLIENTS", 2)
    monkeypatch.setattr(explaining, "MAX_RESOURCES", 3)


@pytest.mark.usefixtures("few")
async def test_an_answer_has_bounds(opened: Streams, explainer: Explainer) -> None:
    for _ in range(3):
        client(opened, "a", *(f"s{number}.default" for number in range(5)))
    explained = await explainer.explain("a", "")
    assert [len(each.resources) for each in explained] == [3, 3]


async def test_an_answer_is_no_larger_than_clients_take(opened: Streams, explainer: Explainer) -> None:
    names = [f"s{number}.default" + "|version=" + "x" * 2000 for number in range(100)]
    for _ in range(5):
        client(opened, "a", *names)
    explained = await explainer.explain("a", "")
    assert sum(each.ByteSize() for each in explained) <= MAX_LIST_BYTES + 5_000
    assert [len(each.resources) for each in explained][:3] == [100, 100, 100]
