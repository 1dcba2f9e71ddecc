from __future__ import annotations

import pytest
from sira.xds.v1.client_pb2 import ResourceState

from sira_grpc.xds.stream import Stream
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, ROUTES
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import Client, streams

MISSING = ResourceState.RESOURCE_STATE_MISSING
PENDING = ResourceState.RESOURCE_STATE_PENDING
SENT = ResourceState.RESOURCE_STATE_SENT
ACKNOWLEDGED = ResourceState.RESOURCE_STATE_ACKNOWLEDGED
REJECTED = ResourceState.RESOURCE_STATE_REJECTED

FORMS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


def rows(stream: Stream, type_url: str = ENDPOINTS) -> dict[str, tuple[int, str, str, str]]:
    """Returns by name the state, what was sent, what would be sent now, and the rejection."""
    found: dict[str, tuple[int, str, str, str]] = {}
    for kind, name, state, sent, current, rejection in stream.resources():
        if kind == type_url:
            before, after = (each.body.decode() if each is not None else "" for each in (sent, current))
            found[name] = (state, before, after, rejection)
    return found


def subscribe(client: Client, type_url: str, *names: str) -> None:
    client.say(type_url, **{"resource_names_subscribe" if client.stream.delta else "resource_names": names})


@FORMS
async def test_how_far_a_resource_has_come(*, delta: bool) -> None:
    source = MemorySource()
    opened = streams(source, FakeClock())
    source.put(ENDPOINTS, "a", body=b"a1")
    await opened.step()
    client = Client(opened.open(delta=delta))
    stream = client.stream
    assert not list(stream.resources())
    subscribe(client, ENDPOINTS, "a", "x")
    assert rows(stream) == {"a": (PENDING, "", "a1", ""), "x": (MISSING, "", "", "")}
    response = client.one()
    assert rows(stream)["a"] == (SENT, "a1", "a1", "")
    client.ack(response, "a", "x")
    assert rows(stream)["a"] == (ACKNOWLEDGED, "a1", "a1", "")
    source.put(ENDPOINTS, "a", body=b"a2")
    assert rows(stream)["a"] == (PENDING, "a1", "a2", ""), "not yet pushed"
    await opened.step()
    assert rows(stream)["a"] == (PENDING, "a1", "a2", "")
    client.nack(client.one(), "a", "x", reason="it is bad")
    assert rows(stream)["a"] == (REJECTED, "a2", "a2", "it is bad")
    assert stream.rejected == 1
    source.put(ENDPOINTS, "a", body=b"a3")
    await opened.step()
    assert rows(stream)["a"] == (PENDING, "a2", "a3", "")
    assert stream.rejected == 0
    client.acked("a", "x")
    source.put(ENDPOINTS, "a", body=b"a4")
    source.put(ENDPOINTS, "a", body=b"a5")
    assert rows(stream)["a"] == (PENDING, "", "a5", ""), "what was sent is not known any more"
    source.drop(ENDPOINTS, "a")
    assert rows(stream)["a"] == (MISSING, "", "", "")


@FORMS
async def test_what_a_wildcard_covers_and_what_is_leaving(*, delta: bool) -> None:
    source = MemorySource()
    opened = streams(source, FakeClock())
    source.put(CLUSTER, "b", "a", body=b"1")
    source.put(ROUTES, "a", body=b"1")
    await opened.step()
    client = Client(opened.open(delta=delta))
    for type_url in (CLUSTER, ROUTES):
        subscribe(client, type_url, *(["a"] if type_url == ROUTES else []))
        client.acked(*(["a"] if type_url == ROUTES else []))
    assert list(rows(client.stream, CLUSTER)) == ["a", "b"]
    source.change({(CLUSTER, "a"): None, (ROUTES, "a"): b"2"})
    await opened.step()
    client.one()
    assert rows(client.stream, CLUSTER) == {"a": (MISSING, "", "", ""), "b": (ACKNOWLEDGED, "1", "1", "")}
