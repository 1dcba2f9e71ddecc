from __future__ import annotations

from typing import Any

import pytest

from sira_grpc.errors import InvalidField
from sira_grpc.xds.streams import Streams
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import Client, bodies, streams


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource()
    for type_url in (CLUSTER, ENDPOINTS, LISTENER, ROUTES):
        source.put(type_url, "a", body=b"a1")
        source.put(type_url, "b", body=b"b1")
    return source


@pytest.fixture
def opened(source: MemorySource) -> Streams:
    return streams(source, FakeClock())


@pytest.fixture
def client(opened: Streams) -> Client:
    return Client(opened.open(delta=True))


async def change(opened: Streams, source: MemorySource, type_url: str, name: str, body: bytes | None) -> None:
    source.change({(type_url, name): body})
    await opened.step()


def removed(response: Any) -> list[str]:
    return list(response.removed_resources)


@pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINTS, LISTENER, ROUTES])
async def test_what_is_subscribed_to_is_sent_and_an_ack_is_not_answered(client: Client, type_url: str) -> None:
    client.subscribe(type_url, "b", "a")
    response = client.acked()
    assert bodies(response) == ["a1", "b1"]
    assert [resource.name for resource in response.resources] == ["a", "b"]
    assert all(resource.version for resource in response.resources)
    assert all(resource.resource.type_url == type_url for resource in response.resources)
    assert client.take() is None


async def test_only_what_changes_is_sent(client: Client, opened: Streams, source: MemorySource) -> None:
    client.subscribe(CLUSTER)
    client.acked()
    await change(opened, source, CLUSTER, "b", b"b2")
    assert bodies(client.acked()) == ["b2"]
    await change(opened, source, CLUSTER, "b", b"b2")
    assert client.take() is None
    await change(opened, source, CLUSTER, "c", b"c1")
    assert bodies(client.acked()) == ["c1"]
    await change(opened, source, CLUSTER, "a", None)
    assert removed(client.acked()) == ["a"]


async def test_subscribing_again_sends_again(client: Client) -> None:
    client.subscribe(ENDPOINTS, "a", "b")
    client.acked()
    client.subscribe(ENDPOINTS, "a")
    assert bodies(client.acked()) == ["a1"]


async def test_what_is_unsubscribed_is_not_sent(client: Client, opened: Streams, source: MemorySource) -> None:
    client.subscribe(ENDPOINTS, "a", "b")
    client.acked()
    client.unsubscribe(ENDPOINTS, "a", "never")
    await change(opened, source, ENDPOINTS, "a", b"a2")
    assert client.take() is None
    client.say(ENDPOINTS, resource_names_unsubscribe=["b", "a"], resource_names_subscribe=["a"])
    assert bodies(client.acked()) == ["a2"]
    await change(opened, source, ENDPOINTS, "b", b"b2")
    assert client.take() is None


@pytest.mark.parametrize("nonce", ["", "unknown"])
async def test_subscriptions_count_with_any_nonce(client: Client, nonce: str) -> None:
    client.subscribe(ENDPOINTS, "a")
    client.take()
    client.say(ENDPOINTS, resource_names_subscribe=["b"], response_nonce=nonce)
    assert bodies(client.one()) == ["b1"]


async def test_a_name_that_stays_covered_is_sent_as_it_is(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.subscribe(LISTENER, "*", "a", "x")
    response = client.acked()
    assert (bodies(response), removed(response)) == (["a1", "b1"], ["x"])
    client.unsubscribe(LISTENER, "a")
    assert bodies(client.acked()) == ["a1"]
    client.unsubscribe(LISTENER, "x", "never")
    response = client.acked()
    assert (bodies(response), removed(response)) == ([], ["x"])
    client.unsubscribe(LISTENER, "*")
    await change(opened, source, LISTENER, "b", b"b2")
    assert client.take() is None
    client.subscribe(LISTENER, "*")
    assert bodies(client.one()) == ["a1", "b2"]


async def test_a_name_stays_when_the_wildcard_goes(client: Client, opened: Streams, source: MemorySource) -> None:
    client.subscribe(LISTENER, "*", "a")
    client.acked()
    client.unsubscribe(LISTENER, "*")
    assert client.take() is None
    source.change({(LISTENER, "a"): b"a2", (LISTENER, "b"): b"b2"})
    await opened.step()
    assert bodies(client.acked()) == ["a2"]


@pytest.mark.parametrize("names", [(), ("*",)])
async def test_a_wildcard_is_answered_if_there_is_nothing(
    client: Client, source: MemorySource, names: tuple[str, ...]
) -> None:
    source.drop(CLUSTER, "a", "b")
    client.subscribe(CLUSTER, *names)
    response = client.acked()
    assert (bodies(response), removed(response)) == ([], [])
    assert client.take() is None


async def test_an_empty_first_request_is_nothing_where_there_is_no_wildcard(client: Client) -> None:
    client.subscribe(ENDPOINTS)
    assert client.take() is None
    client.subscribe(ENDPOINTS, "a")
    assert bodies(client.one()) == ["a1"]


async def test_a_first_request_that_only_unsubscribes_is_nothing(client: Client) -> None:
    client.unsubscribe(CLUSTER, "a")
    assert client.take() is None
    client.subscribe(CLUSTER)
    assert client.take() is None


async def test_a_client_that_comes_back_is_sent_what_it_lacks(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.subscribe(CLUSTER)
    known = {resource.name: resource.version for resource in client.acked().resources}
    await change(opened, source, CLUSTER, "b", b"b2")
    again = Client(opened.open(delta=True))
    again.subscribe(CLUSTER, known={**known, "gone": "0"})
    response = again.acked()
    assert (bodies(response), removed(response)) == (["b2"], ["gone"])
    again.subscribe(CLUSTER, "a", known=known)
    assert bodies(again.acked()) == ["a1"], "versions count in the first request alone"


async def test_a_client_that_comes_back_with_names(client: Client, opened: Streams, source: MemorySource) -> None:
    client.subscribe(ENDPOINTS, "a", "b")
    known = {resource.name: resource.version for resource in client.acked().resources}
    again = Client(opened.open(delta=True))
    again.subscribe(ENDPOINTS, "a", "b", known=known)
    assert again.take() is None
    await change(opened, source, ENDPOINTS, "a", b"a2")
    assert bodies(again.acked()) == ["a2"]
    await change(opened, source, ENDPOINTS, "b", None)
    third = Client(opened.open(delta=True))
    third.subscribe(ENDPOINTS, "a", "b", known={**known, "c": "0"})
    response = third.acked()
    assert (bodies(response), removed(response)) == (["a2"], ["b"])


async def test_a_client_that_comes_back_and_changes_its_mind(client: Client, opened: Streams) -> None:
    client.subscribe(CLUSTER, "a", "b")
    known = {resource.name: resource.version for resource in client.acked().resources}
    again = Client(opened.open(delta=True))
    again.subscribe(CLUSTER, "*", known=known)
    again.unsubscribe(CLUSTER, "*")
    again.subscribe(CLUSTER, "a")
    assert bodies(again.acked()) == ["a1"]
    third = Client(opened.open(delta=True))
    third.subscribe(CLUSTER, "a", "b", known=known)
    third.unsubscribe(CLUSTER, "b")
    third.subscribe(CLUSTER, "b")
    assert bodies(third.acked()) == ["b1"]


async def test_missing_names_are_told_once_and_when_they_go(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.subscribe(ROUTES, "x")
    assert removed(client.acked()) == ["x"]
    await change(opened, source, ROUTES, "x", None)
    assert client.take() is None
    await change(opened, source, ROUTES, "x", b"x1")
    assert bodies(client.acked()) == ["x1"]
    await change(opened, source, ROUTES, "x", None)
    assert removed(client.acked()) == ["x"]
    client.subscribe(ROUTES, "x")
    assert removed(client.acked()) == ["x"]


async def test_what_comes_back_the_same_is_sent(client: Client, opened: Streams, source: MemorySource) -> None:
    client.subscribe(LISTENER)
    client.acked()
    await change(opened, source, LISTENER, "a", None)
    assert removed(client.acked()) == ["a"]
    await change(opened, source, LISTENER, "a", b"a1")
    assert bodies(client.acked()) == ["a1"]


async def test_what_was_rejected_is_not_sent_again_and_what_changes_is(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.subscribe(CLUSTER)
    client.acked()
    source.change({(CLUSTER, "a"): b"bad", (CLUSTER, "b"): b"b2"})
    await opened.step()
    client.nack(client.one(), reason="cluster a: no")
    assert client.take() is None
    assert client.stream.rejected == 1
    await change(opened, source, CLUSTER, "b", b"b3")
    assert bodies(client.acked()) == ["b3"]
    await change(opened, source, CLUSTER, "a", b"a2")
    assert bodies(client.acked()) == ["a2"]
    assert client.stream.rejected == 0
    await change(opened, source, CLUSTER, "a", b"bad")
    assert client.take() is None
    client.subscribe(CLUSTER, "*")
    assert bodies(client.acked()) == ["b3"]
    client.subscribe(CLUSTER, "a")
    assert bodies(client.one()) == ["bad"], "it is asked for by name"


async def test_responses_are_answered_in_any_order(client: Client, opened: Streams, source: MemorySource) -> None:
    client.subscribe(ENDPOINTS, "a", "b")
    first = client.take()
    await change(opened, source, ENDPOINTS, "a", b"bad")
    bad = client.take()
    await change(opened, source, ENDPOINTS, "b", b"b2")
    third = client.take()
    client.ack(third)
    client.nack(bad)
    client.ack(first)
    assert client.take() is None
    assert client.stream.rejected == 1


async def test_a_rejection_may_subscribe(client: Client) -> None:
    client.subscribe(ENDPOINTS, "a")
    response = client.one()
    client.say(
        ENDPOINTS,
        response_nonce=response.nonce,
        error_detail={"code": 3, "message": "no"},
        resource_names_subscribe=["b"],
    )
    assert bodies(client.one()) == ["b1"]


async def test_a_client_that_never_answers_costs_little(client: Client, opened: Streams, source: MemorySource) -> None:
    client.subscribe(ENDPOINTS, "a")
    first = client.take()
    for i in range(50):
        await change(opened, source, ENDPOINTS, "a", b"a%d" % i)
        client.take()
    assert all(len(s.unanswered) <= 16 for s in client.stream._subscriptions.values())
    client.nack(first)
    assert client.stream.rejected == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"resource_names_subscribe": ["a", "b", "c"]}, "resource_names_subscribe"),
        ({"resource_names_subscribe": ["x" * 2049]}, "resource_names_subscribe"),
        ({"resource_names_unsubscribe": ["a", "b", "c"]}, "resource_names_unsubscribe"),
        ({"initial_resource_versions": {"a": "", "b": "", "c": ""}}, "initial_resource_versions"),
    ],
)
async def test_too_many_or_too_long_names_change_nothing(
    source: MemorySource, fields: dict[str, Any], named: str
) -> None:
    client = Client(streams(source, FakeClock(), max_names=2).open(delta=True))
    with pytest.raises(InvalidField, match=named):
        client.say(CLUSTER, **fields)
    assert client.stream.node is None
    client.subscribe(CLUSTER, "a")
    assert bodies(client.acked()) == ["a1"]
    if "resource_names_subscribe" in fields:
        with pytest.raises(InvalidField, match=named):
            client.subscribe(CLUSTER, *fields["resource_names_subscribe"])
        assert client.take() is None
