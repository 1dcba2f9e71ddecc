"""Changes come to a client for Node at a pace that it can follow; what it asks for comes at once."""

from __future__ import annotations

import pytest

from sira_grpc.xds.pacing import PACE, STEP
from sira_grpc.xds.streams import Streams
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import Client, bodies, types
from tests.unit.xds.test_stream import FORMS, ask, settle

NODE = "gRPC Node Pure JS"


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource()
    source.change({(type_url, name): b"1" for type_url in (CLUSTER, ENDPOINTS) for name in "ab"})
    return source


@FORMS
async def test_changes_that_come_thick_and_fast_come_as_one(
    opened: Streams, source: MemorySource, clock: FakeClock, *, delta: bool
) -> None:
    client = Client(opened.open(delta=delta), agent=NODE)
    for type_url in (CLUSTER, ENDPOINTS):
        ask(client, type_url, "a")
    assert settle(client, "a") == [CLUSTER, ENDPOINTS]
    source.change({(CLUSTER, "a"): b"2", (ENDPOINTS, "a"): b"2"})
    await opened.step()
    assert settle(client, "a") == [CLUSTER, ENDPOINTS], "the first burst comes at once, and as a whole"
    for body in (b"3", b"4"):
        source.change({(ENDPOINTS, "a"): body})
        await opened.step()
        assert client.take() is None
    clock.advance(PACE + STEP)
    await opened.step()
    assert bodies(client.acked("a")) == ["4"]
    clock.advance(PACE + STEP)
    source.change({(ENDPOINTS, "a"): b"5"})
    await opened.step()
    assert bodies(client.acked("a")) == ["5"], "after a pause there is no wait"


async def test_the_stream_is_woken_when_the_wait_is_over(
    opened: Streams, source: MemorySource, clock: FakeClock
) -> None:
    client = Client(opened.open(delta=True), agent=NODE)
    ask(client, ENDPOINTS, "a")
    settle(client)
    for body in (b"2", b"3"):
        source.change({(ENDPOINTS, "a"): body})
        await opened.step()
        settle(client)
    assert client.stream.overdue(clock.monotonic()) == pytest.approx(clock.monotonic() + PACE, abs=STEP)
    clock.advance(PACE + STEP)
    assert client.stream.overdue(clock.monotonic()) == float("inf")


@FORMS
async def test_what_is_asked_for_comes_at_once(opened: Streams, source: MemorySource, *, delta: bool) -> None:
    client = Client(opened.open(delta=delta), agent=NODE)
    ask(client, ENDPOINTS, "a")
    settle(client, "a")
    source.change({(ENDPOINTS, "a"): b"2"})
    await opened.step()
    assert settle(client, "a") == [ENDPOINTS]
    ask(client, CLUSTER, "b")
    assert types(client.take_all()) == [CLUSTER]


@FORMS
async def test_others_do_not_wait(opened: Streams, source: MemorySource, *, delta: bool) -> None:
    client = Client(opened.open(delta=delta))
    ask(client, ENDPOINTS, "a")
    settle(client, "a")
    for body in (b"2", b"3"):
        source.change({(ENDPOINTS, "a"): body})
        await opened.step()
        assert bodies(client.acked("a")) == [body.decode()]
