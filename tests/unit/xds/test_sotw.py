from __future__ import annotations

import pytest

from sira_grpc.errors import InvalidField
from sira_grpc.xds.streams import Streams
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import Client, bodies, errors, streams


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
    return Client(opened.open(delta=False))


async def change(opened: Streams, source: MemorySource, type_url: str, name: str, body: bytes | None) -> None:
    source.change({(type_url, name): body})
    await opened.step()


@pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINTS, LISTENER, ROUTES])
async def test_the_first_request_is_answered_and_an_ack_is_not(client: Client, type_url: str) -> None:
    client.ask(type_url, "a")
    response = client.acked("a")
    assert bodies(response) == ["a1"]
    assert response.version_info
    assert response.type_url == type_url
    assert client.take() is None


async def test_a_first_request_with_the_version_and_nonce_of_another_stream_is_answered(
    client: Client, opened: Streams
) -> None:
    client.ask(ENDPOINTS, "a")
    before = client.acked("a")
    again = Client(opened.open(delta=False))
    again.say(ENDPOINTS, resource_names=["a"], version_info=before.version_info, response_nonce=before.nonce)
    response = again.one()
    assert bodies(response) == ["a1"]
    assert response.version_info == before.version_info
    assert response.nonce != before.nonce


async def test_new_names_are_sent_and_only_they(client: Client) -> None:
    client.ask(ENDPOINTS, "a")
    client.acked("a")
    client.ask(ENDPOINTS, "a", "b")
    assert bodies(client.acked("a", "b")) == ["b1"]


async def test_new_names_of_a_full_state_bring_all_of_it(client: Client) -> None:
    client.ask(CLUSTER, "a")
    client.acked("a")
    client.ask(CLUSTER, "a", "b")
    assert bodies(client.acked("a", "b")) == ["a1", "b1"]


@pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINTS])
async def test_fewer_names_or_the_same_in_another_order_are_not_answered(client: Client, type_url: str) -> None:
    client.ask(type_url, "a", "b")
    client.acked("a", "b")
    for names in (("b", "a"), ("a", "b", "a"), ("a",), ("a", "a"), ()):
        client.ask(type_url, *names)
        assert client.take() is None
    client.ask(type_url, "a")
    assert bodies(client.one()) == ["a1"]


async def test_what_changes_is_sent(client: Client, opened: Streams, source: MemorySource) -> None:
    for type_url in (CLUSTER, ENDPOINTS):
        client.ask(type_url, "a", "b")
        client.acked("a", "b")
    await change(opened, source, ENDPOINTS, "b", b"b2")
    assert bodies(client.acked("a", "b")) == ["b2"]
    await change(opened, source, LISTENER, "b", b"b2")
    await change(opened, source, ENDPOINTS, "b", b"b2")
    await change(opened, source, ENDPOINTS, "c", b"c1")
    assert client.take() is None
    await change(opened, source, CLUSTER, "b", b"b2")
    response = client.take()
    assert bodies(response) == ["a1", "b2"]


async def test_changes_are_conflated(client: Client, opened: Streams, source: MemorySource) -> None:
    client.ask(ENDPOINTS, "a", "b")
    client.acked("a", "b")
    for i in range(2, 9):
        await change(opened, source, ENDPOINTS, "a", b"a%d" % i)
    await change(opened, source, ENDPOINTS, "b", b"b2")
    assert bodies(client.acked("a", "b")) == ["a8", "b2"]


async def test_an_empty_first_list_is_everything_until_there_were_names(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.ask(LISTENER)
    assert bodies(client.acked()) == ["a1", "b1"]
    source.put(LISTENER, "c", body=b"c1")
    await opened.step()
    assert bodies(client.acked()) == ["a1", "b1", "c1"]
    client.ask(LISTENER, "a")
    client.take_all()
    client.ask(LISTENER)
    await change(opened, source, LISTENER, "a", b"a2")
    assert client.take() is None


async def test_an_empty_first_list_is_nothing_where_there_is_no_wildcard(client: Client) -> None:
    client.ask(ENDPOINTS)
    assert client.take() is None
    client.ask(ENDPOINTS, "a")
    assert bodies(client.one()) == ["a1"]


async def test_a_wildcard_may_come_with_names(client: Client, opened: Streams, source: MemorySource) -> None:
    client.ask(CLUSTER, "*", "x")
    response = client.acked("*", "x")
    assert bodies(response) == ["a1", "b1"]
    assert errors(response) == ["x"]
    source.put(CLUSTER, "x", body=b"x1")
    await opened.step()
    assert bodies(client.acked("*", "x")) == ["a1", "b1", "x1"]
    client.ask(CLUSTER, "a")
    assert bodies(client.acked("a")) == ["a1"]
    await change(opened, source, CLUSTER, "b", b"b2")
    assert client.take() is None
    client.ask(CLUSTER, "a", "*")
    assert bodies(client.one()) == ["a1", "b2", "x1"]


async def test_everything_may_be_nothing(client: Client, opened: Streams, source: MemorySource) -> None:
    source.drop(LISTENER, "a", "b")
    await opened.step()
    client.ask(LISTENER)
    response = client.acked()
    assert bodies(response) == []
    assert response.version_info
    assert client.take() is None


async def test_a_full_state_lacks_what_is_gone(client: Client, opened: Streams, source: MemorySource) -> None:
    client.ask(LISTENER, "a", "b")
    client.acked("a", "b")
    await change(opened, source, LISTENER, "a", None)
    response = client.acked("a", "b")
    assert (bodies(response), errors(response)) == (["b1"], ["a"])
    await change(opened, source, LISTENER, "a", b"a1")
    assert bodies(client.acked("a", "b")) == ["a1", "b1"]


async def test_missing_names_are_told_once_and_when_they_go(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.ask(ROUTES, "a", "x")
    response = client.acked("a", "x")
    assert (bodies(response), errors(response)) == (["a1"], ["x"])
    assert response.resource_errors[0].error_detail.code == 5
    await change(opened, source, ROUTES, "x", None)
    assert client.take() is None
    await change(opened, source, ROUTES, "x", b"x1")
    assert bodies(client.acked("a", "x")) == ["x1"]
    await change(opened, source, ROUTES, "x", None)
    response = client.acked("a", "x")
    assert (bodies(response), errors(response)) == ([], ["x"])
    client.ask(ROUTES, "a")
    client.ask(ROUTES, "a", "x")
    assert errors(client.acked("a", "x")) == ["x"]


async def test_a_stale_nonce_is_not_answered(client: Client, opened: Streams, source: MemorySource) -> None:
    client.ask(ENDPOINTS, "a")
    first = client.take()
    await change(opened, source, ENDPOINTS, "a", b"a2")
    second = client.take()
    client.ack(first, "a", "b")
    client.say(ENDPOINTS, resource_names=["a", "b"], response_nonce="unknown")
    assert client.take() is None
    client.ack(second, "a", "b")
    assert bodies(client.one()) == ["b1"]


async def test_what_a_stale_request_drops_is_sent_when_it_is_asked_for_again(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.ask(ENDPOINTS, "a", "b")
    first = client.take()
    await change(opened, source, ENDPOINTS, "a", b"a2")
    second = client.take()
    client.ack(first, "a")
    client.ack(first, "a", "b")
    assert client.take() is None
    client.ack(second, "a", "b")
    assert bodies(client.one()) == ["b1"]


async def test_names_may_be_added_before_the_first_answer(client: Client) -> None:
    client.ask(ENDPOINTS, "a")
    client.ask(ENDPOINTS, "a", "b")
    assert bodies(client.one()) == ["a1", "b1"]


async def test_what_was_rejected_is_not_sent_again_and_what_changes_is(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.ask(ENDPOINTS, "a", "b")
    client.acked("a", "b")
    await change(opened, source, ENDPOINTS, "a", b"bad")
    client.nack(client.one(), "a", "b")
    assert client.take() is None
    await change(opened, source, ENDPOINTS, "b", b"b2")
    assert bodies(client.acked("a", "b")) == ["b2"]
    await change(opened, source, ENDPOINTS, "a", b"a2")
    assert bodies(client.acked("a", "b")) == ["a2"]
    await change(opened, source, ENDPOINTS, "a", b"bad")
    assert client.take() is None
    client.ask(ENDPOINTS, "b")
    client.ask(ENDPOINTS, "a", "b")
    assert bodies(client.one()) == ["bad"], "it is asked for anew"


async def test_a_full_state_has_what_there_was_in_place_of_what_was_rejected(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.ask(CLUSTER, "a", "b", "c")
    client.acked("a", "b", "c")
    source.change({(CLUSTER, "a"): b"bad", (CLUSTER, "c"): b"bad"})
    await opened.step()
    client.nack(client.one(), "a", "b", "c", reason="clusters a, c: no")
    assert client.take() is None
    await change(opened, source, CLUSTER, "b", b"b2")
    assert bodies(client.acked("a", "b", "c")) == ["a1", "b2"]
    await change(opened, source, CLUSTER, "c", b"c2")
    assert bodies(client.acked("a", "b", "c")) == ["a1", "b2", "c2"]


async def test_a_rejection_is_about_what_was_new(client: Client, opened: Streams, source: MemorySource) -> None:
    client.ask(CLUSTER)
    client.acked()
    await change(opened, source, CLUSTER, "a", b"bad")
    client.nack(client.one(), reason="it is not said which")
    assert client.stream.rejected == 1
    await change(opened, source, CLUSTER, "b", b"b2")
    assert bodies(client.acked()) == ["a1", "b2"]


async def test_a_rejection_that_comes_late_counts(client: Client, opened: Streams, source: MemorySource) -> None:
    client.ask(ENDPOINTS, "a", "b")
    client.acked("a", "b")
    await change(opened, source, ENDPOINTS, "a", b"bad")
    bad = client.take()
    await change(opened, source, ENDPOINTS, "b", b"b2")
    good = client.take()
    client.nack(bad, "a", "b")
    client.ack(good, "a", "b")
    assert client.stream.rejected == 1
    await change(opened, source, ENDPOINTS, "a", b"bad")
    assert client.take() is None


async def test_a_late_rejection_of_a_full_state_counts_before_the_next(
    client: Client, opened: Streams, source: MemorySource
) -> None:
    client.ask(CLUSTER, "a", "b")
    client.acked("a", "b")
    await change(opened, source, CLUSTER, "a", b"bad")
    first = client.take()
    await change(opened, source, CLUSTER, "b", b"b2")
    second = client.take()
    assert bodies(second) == ["bad", "b2"]
    client.nack(first, "a", "b")
    await change(opened, source, CLUSTER, "b", b"b3")
    third = client.take()
    assert bodies(third) == ["a1", "b3"]
    client.nack(second, "a", "b", reason="a: no")
    client.ack(third, "a", "b")
    assert client.stream.rejected == 1
    await change(opened, source, CLUSTER, "b", b"b4")
    assert bodies(client.acked("a", "b")) == ["a1", "b4"]


async def test_a_rejection_may_change_the_subscription(client: Client) -> None:
    client.ask(ENDPOINTS, "a")
    client.nack(client.one(), "b")
    assert bodies(client.one()) == ["b1"]
    assert client.stream.rejected == 0


async def test_versions_are_those_of_the_content(source: MemorySource) -> None:
    other = MemorySource()
    other.put(CLUSTER, "b", body=b"b1")
    other.put(CLUSTER, "a", body=b"a1")
    found = set()
    for each in (source, other):
        client = Client(streams(each, FakeClock()).open(delta=False))
        client.ask(CLUSTER)
        found.add(client.one().version_info)
    assert len(found) == 1


async def test_too_many_or_too_long_names_change_nothing(source: MemorySource) -> None:
    client = Client(streams(source, FakeClock(), max_names=2).open(delta=False))
    client.ask(ENDPOINTS, "a", "b")
    client.acked("a", "b")
    for names in (("a", "b", "c"), ("x" * 2049,)):
        with pytest.raises(InvalidField, match="resource_names"):
            client.ask(ENDPOINTS, *names)
    client.ask(ENDPOINTS, "a", "b")
    assert client.take() is None
