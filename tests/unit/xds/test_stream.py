from __future__ import annotations

import asyncio

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from sira_grpc.errors import InvalidField
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.xds.streams import Streams
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ORDER, ROUTES
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import Client, bodies, errors, types

NAMED = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
FORMS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource()
    for type_url in NAMED:
        source.put(type_url, "a", body=b"a1")
        source.put(type_url, "b", body=b"b1")
    return source


def ask(client: Client, type_url: str, *names: str) -> None:
    if client.stream.delta:
        client.subscribe(type_url, *names)
    else:
        client.ask(type_url, *names)


def settle(client: Client, *names: str) -> list[str]:
    """Accepts whatever comes. Returns the types of it."""
    found = []
    while (response := client.take()) is not None:
        found.append(response.type_url)
        client.ack(response, *names)
    return found


def gone(client: Client, response: DiscoveryResponse, name: str) -> bool:
    if client.stream.delta:
        return name in response.removed_resources
    return not any(body.startswith(name) for body in bodies(response))


@FORMS
async def test_responses_come_in_the_order_of_make_before_break(
    opened: Streams, source: MemorySource, *, delta: bool
) -> None:
    client = Client(opened.open(delta=delta))
    for type_url in reversed(ORDER):
        ask(client, type_url, "a", "b")
    assert types(client.take_all()) == list(ORDER)
    source.change({(type_url, "a"): b"a2" for type_url in NAMED})
    await opened.step()
    assert types(client.take_all()) == [type_url for type_url in ORDER if type_url in NAMED]


@FORMS
async def test_endpoints_of_an_envoy_come_again_after_their_cluster(
    opened: Streams, source: MemorySource, *, delta: bool
) -> None:
    client = Client(opened.open(delta=delta), agent="envoy")
    ask(client, ENDPOINTS, "b", "a")
    assert settle(client, "a", "b") == [ENDPOINTS]
    ask(client, CLUSTER, "a", "b")
    assert settle(client, "a", "b") == [CLUSTER, ENDPOINTS]
    source.put(CLUSTER, "a")
    await opened.step()
    _, endpoints = client.take_all()
    assert bodies(endpoints) == ["a1"]


@FORMS
async def test_endpoints_of_others_do_not_come_again(opened: Streams, source: MemorySource, *, delta: bool) -> None:
    client = Client(opened.open(delta=delta))
    for type_url in (ENDPOINTS, CLUSTER):
        ask(client, type_url, "a")
        assert settle(client, "a") == [type_url]
    source.put(CLUSTER, "a")
    await opened.step()
    assert types(client.take_all()) == [CLUSTER]


@FORMS
async def test_rejected_endpoints_do_not_come_again(opened: Streams, source: MemorySource, *, delta: bool) -> None:
    client = Client(opened.open(delta=delta))
    ask(client, CLUSTER, "a")
    settle(client, "a")
    ask(client, ENDPOINTS, "a")
    client.nack(client.one(), "a")
    source.put(CLUSTER, "a")
    await opened.step()
    assert settle(client, "a") == [CLUSTER]


@FORMS
async def test_a_cluster_goes_after_the_routes_are_acknowledged(
    opened: Streams, source: MemorySource, *, delta: bool
) -> None:
    client = Client(opened.open(delta=delta))
    for type_url in (CLUSTER, ROUTES):
        ask(client, type_url, "a", "b")
        settle(client, "a", "b")
    source.change({(CLUSTER, "a"): None, (CLUSTER, "b"): b"b2", (ROUTES, "b"): b"b2"})
    await opened.step()
    clusters, routes = client.take_all()
    assert types((clusters, routes)) == [CLUSTER, ROUTES]
    assert not gone(client, clusters, "a")
    client.ack(clusters, "a", "b")
    assert client.take() is None
    client.ack(routes, "a", "b")
    assert gone(client, client.acked("a", "b"), "a")
    assert client.take() is None


@FORMS
async def test_a_cluster_goes_at_once_if_no_route_changes(
    opened: Streams, source: MemorySource, *, delta: bool
) -> None:
    client = Client(opened.open(delta=delta))
    for type_url in (CLUSTER, ROUTES):
        ask(client, type_url, "a", "b")
        settle(client, "a", "b")
    source.drop(CLUSTER, "a")
    await opened.step()
    assert gone(client, client.acked("a", "b"), "a")


@FORMS
async def test_a_cluster_goes_in_the_end(
    opened: Streams, source: MemorySource, clock: FakeClock, *, delta: bool
) -> None:
    client = Client(opened.open(delta=delta))
    for type_url in (CLUSTER, ROUTES):
        ask(client, type_url, "a", "b")
        settle(client, "a", "b")
    source.change({(CLUSTER, "a"): None, (ROUTES, "b"): b"b2"})
    await opened.step()
    client.nack(client.one(), "a", "b")
    clock.advance(4.9)
    await opened.step()
    assert client.take() is None
    clock.advance(0.2)
    await opened.step()
    assert gone(client, client.acked("a", "b"), "a")
    await opened.step()
    assert client.take() is None


@FORMS
async def test_a_cluster_that_comes_back_in_time_does_not_go(
    opened: Streams, source: MemorySource, clock: FakeClock, *, delta: bool
) -> None:
    client = Client(opened.open(delta=delta))
    for type_url in (CLUSTER, ROUTES):
        ask(client, type_url, "a", "b")
        settle(client, "a", "b")
    source.change({(CLUSTER, "a"): None, (ROUTES, "b"): b"b2"})
    await opened.step()
    routes = client.one()
    source.put(CLUSTER, "a", body=b"a2")
    await opened.step()
    assert not gone(client, client.acked("a", "b"), "a")
    client.ack(routes, "a", "b")
    clock.advance(6)
    await opened.step()
    assert client.take() is None


@FORMS
async def test_a_cluster_that_is_asked_for_no_more_is_forgotten(
    opened: Streams, source: MemorySource, clock: FakeClock, *, delta: bool
) -> None:
    client = Client(opened.open(delta=delta))
    for type_url in (CLUSTER, ROUTES):
        ask(client, type_url, "a", "b")
        settle(client, "a", "b")
    source.change({(CLUSTER, "a"): None, (ROUTES, "b"): b"b2"})
    await opened.step()
    client.take_all()
    if delta:
        client.unsubscribe(CLUSTER, "a")
    else:
        client.ask(CLUSTER, "b")
    clock.advance(6)
    await opened.step()
    assert client.take() is None


@FORMS
async def test_what_depends_on_the_service_of_the_client(opened: Streams, source: MemorySource, *, delta: bool) -> None:
    source.put(LISTENER, "own", body=b"o1")
    await opened.step()
    mine = Client(opened.open(delta=delta), cluster="shop.prod")
    other = Client(opened.open(delta=delta), cluster="cart.prod")
    for client in (mine, other):
        ask(client, LISTENER, "own", "a")
        settle(client, "own", "a")
    source.resources[LISTENER, "own"] = type(source.resources[LISTENER, "own"])(LISTENER, "own", b"o2", 99)
    source.generation = 98
    source.change({}, services=frozenset({"namespaces/prod/services/shop"}))
    await opened.step()
    assert "o2" in bodies(mine.one())
    assert other.take() is None


@FORMS
async def test_a_stream_of_one_type(opened: Streams, *, delta: bool) -> None:
    client = Client(opened.open(delta=delta, type_url=CLUSTER))
    client.say("")
    assert client.one().type_url == CLUSTER
    with pytest.raises(InvalidField, match="type_url"):
        client.say(ENDPOINTS)


async def test_the_node_is_read_once(opened: Streams) -> None:
    identity = SpiffeId.parse("spiffe://example.org/ns/prod/svc/shop")
    stream = opened.open(delta=False, identity=identity, peer="ipv4:10.0.0.1:7")
    assert stream.node is None
    with pytest.raises(InvalidField, match=r"^node: "):
        stream.receive(DiscoveryRequest(type_url=CLUSTER))
    with pytest.raises(InvalidField, match=r"^node\.id: "):
        stream.receive(DiscoveryRequest(type_url=CLUSTER, node={"id": "x" * 1025}))
    with pytest.raises(InvalidField, match="type_url"):
        stream.receive(DiscoveryRequest(node={"id": "first"}))
    assert stream.node is None
    stream.receive(DiscoveryRequest(type_url=CLUSTER, node={"id": "first"}))
    stream.receive(DiscoveryRequest(type_url=CLUSTER, node={"id": "second"}))
    node = stream.node
    assert node is not None
    assert (node.id, node.service) == ("first", "namespaces/prod/services/shop")
    assert (stream.identity, stream.peer) == (identity, "ipv4:10.0.0.1:7")


@FORMS
async def test_unknown_types_break_nothing(opened: Streams, *, delta: bool) -> None:
    client = Client(opened.open(delta=delta))
    client.say("type.googleapis.com/envoy.service.runtime.v3.Runtime")
    assert client.take() is None
    ask(client, CLUSTER, "a")
    assert bodies(client.one()) == ["a1"]


async def test_responses_wait_for_what_is_due_and_end_with_the_stream(opened: Streams, source: MemorySource) -> None:
    stream = opened.open(delta=False)
    responses = stream.responses()
    waiting = asyncio.create_task(anext(responses))
    stream.receive(DiscoveryRequest(type_url=ENDPOINTS, node={"id": "n"}, resource_names=["a", "x"]))
    response = DiscoveryResponse.FromString(await waiting)
    assert (bodies(response), errors(response)) == (["a1"], ["x"])
    stream.receive(DiscoveryRequest(type_url=CLUSTER, resource_names=["a"]))
    stream.close()
    stream.close()
    stream.receive(DiscoveryRequest(type_url=LISTENER))
    assert [DiscoveryResponse.FromString(each).type_url async for each in responses] == [CLUSTER]
    assert not opened.streams
