from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse, Resource

from sira_grpc.clock import SystemClock
from sira_grpc.errors import InvalidField, KernelStopping
from sira_grpc.xds.node import C_CORE, ENVOY
from sira_grpc.xds.streams import SLICE, Streams
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import TTL, Client, bodies, errors, streams, types

FORMS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource()
    for type_url in (CLUSTER, ENDPOINTS, LISTENER, ROUTES):
        source.put(type_url, "a", body=b"a1")
        source.put(type_url, "b", body=b"b1")
    return source


@pytest.fixture
async def running(source: MemorySource) -> AsyncIterator[Streams]:
    """Streams that push by themselves, on the machine's clock."""
    made = iter(range(10_000))
    opened = Streams(
        source, SystemClock(), batch_limit=0.01, max_names=100, resource_ttl=0.0, new_id=lambda: f"{next(made)}"
    )
    task = asyncio.create_task(opened.run())
    yield opened
    opened.close()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_changes_are_pushed_to_all(running: Streams, source: MemorySource) -> None:
    waiting = []
    for _ in range(2 * SLICE + 1):
        stream = running.open(delta=False)
        stream.receive(DiscoveryRequest(type_url=ENDPOINTS, node={"id": "n"}, resource_names=["a"]))
        waiting.append(stream.responses())
    for responses in waiting:
        assert bodies(DiscoveryResponse.FromString(await anext(responses))) == ["a1"]
    for i in range(3):
        source.put(ENDPOINTS, "a", body=b"a%d" % i)
        for responses in waiting:
            assert bodies(DiscoveryResponse.FromString(await anext(responses))) == [f"a{i}"]
    for responses in waiting:
        await responses.aclose()


async def test_changes_that_come_thick_and_fast_end_with_the_last(running: Streams, source: MemorySource) -> None:
    stream = running.open(delta=False)
    stream.receive(DiscoveryRequest(type_url=ENDPOINTS, node={"id": "n"}, resource_names=["a"]))
    responses = stream.responses()
    pushes = 0
    found = ""
    for i in range(200):
        source.put(ENDPOINTS, "a", body=b"a%d" % i)
        await asyncio.sleep(0)
    while found != "a199":
        [found] = bodies(DiscoveryResponse.FromString(await anext(responses)))
        pushes += 1
    assert pushes < 100
    await responses.aclose()


async def test_a_change_that_comes_during_a_push_waits_for_its_turn(source: MemorySource) -> None:
    clock = FakeClock()
    opened = Streams(source, clock, batch_limit=0.16, max_names=1, resource_ttl=0.0, new_id=lambda: "s")
    client = Client(opened.open(delta=True))
    client.subscribe(CLUSTER, "a")
    client.acked()
    source.change({(CLUSTER, "a"): b"a2"})
    asyncio.get_running_loop().call_soon(source.change, {(CLUSTER, "a"): b"a3"})
    await opened.step()
    assert bodies(client.acked()) == ["a3"], "it is told of the change before, and given what there is"
    assert source.told_of == source.generation - 1
    await opened.step()
    assert client.take() is None
    clock.advance(0.01)
    source.change({(CLUSTER, "a"): b"a4"})
    await opened.step()
    assert bodies(client.acked()) == ["a4"]


async def test_a_stream_is_not_told_of_what_was_there_when_it_was_opened(source: MemorySource) -> None:
    opened = streams(source, FakeClock())
    client = Client(opened.open(delta=False))
    client.ask(ENDPOINTS, "a")
    client.acked("a")
    await opened.step()
    assert client.take() is None


@FORMS
async def test_endpoints_of_an_envoy_have_a_ttl_and_heartbeats(source: MemorySource, *, delta: bool) -> None:
    clock = FakeClock()
    opened = streams(source, clock, ttl=TTL)
    envoy = Client(opened.open(delta=delta), agent="envoy")
    grpc = Client(opened.open(delta=delta))
    for client in (envoy, grpc):
        for type_url in (ENDPOINTS, CLUSTER):
            names = {"resource_names_subscribe" if delta else "resource_names": ["a", "b", "x"]}
            client.say(type_url, **names)
    taken = {response.type_url: response for response in envoy.take_all()}
    assert [resource.ttl.seconds for resource in wrapped(taken[ENDPOINTS])] == [9, 9]
    assert [resource.resource.value for resource in wrapped(taken[ENDPOINTS])] == [b"a1", b"b1"]
    assert CLUSTER not in types([taken[ENDPOINTS]])
    for response in taken.values():
        envoy.ack(response, "a", "b", "x")
    for response in grpc.take_all():
        assert delta or all(resource.type_url == response.type_url for resource in response.resources)
        grpc.ack(response, "a", "b", "x")
    clock.advance(TTL / 3)
    await opened.step()
    beat = envoy.acked("a", "b", "x")
    assert [(r.name, r.HasField("resource"), r.ttl.seconds) for r in wrapped(beat)] == [
        ("a", False, 9),
        ("b", False, 9),
    ]
    if delta:
        assert [r.version for r in wrapped(beat)] == [r.version for r in wrapped(taken[ENDPOINTS])]
    else:
        assert {r.version for r in wrapped(beat)} == {beat.version_info} == {taken[ENDPOINTS].version_info}
    assert envoy.take() is None
    assert grpc.take() is None


@FORMS
async def test_a_heartbeat_waits_for_responses_to_be_answered(source: MemorySource, *, delta: bool) -> None:
    clock = FakeClock()
    opened = streams(source, clock, ttl=TTL)
    envoy = Client(opened.open(delta=delta), agent="envoy")
    clock.advance(TTL / 3)
    await opened.step()
    envoy.say(ENDPOINTS, **{"resource_names_subscribe" if delta else "resource_names": ["a", "b"]})
    response = envoy.one()
    clock.advance(TTL / 3)
    await opened.step()
    assert envoy.take() is None
    envoy.ack(response, "a", "b")
    assert [r.name for r in wrapped(envoy.acked("a", "b"))] == ["a", "b"]
    assert envoy.take() is None


@FORMS
async def test_a_heartbeat_after_a_rejection_is_of_what_was_accepted(source: MemorySource, *, delta: bool) -> None:
    clock = FakeClock()
    opened = streams(source, clock, ttl=TTL)
    envoy = Client(opened.open(delta=delta), agent="envoy")
    envoy.say(ENDPOINTS, **{"resource_names_subscribe" if delta else "resource_names": ["a"]})
    accepted = envoy.acked("a")
    source.put(ENDPOINTS, "a")
    await opened.step()
    envoy.nack(envoy.one(), "a")
    clock.advance(TTL / 3)
    await opened.step()
    [beat] = wrapped(envoy.one())
    assert beat.name == "a"
    assert beat.version == (wrapped(accepted)[0].version if delta else accepted.version_info)


async def test_fetching(source: MemorySource) -> None:
    opened = streams(source, FakeClock())
    node = {"id": "n"}

    def fetch(of: str, **fields: Any) -> DiscoveryResponse:
        return DiscoveryResponse.FromString(opened.fetch(DiscoveryRequest(node=node, **fields), type_url=of))

    assert bodies(fetch(CLUSTER)) == ["a1", "b1"]
    response = fetch(ROUTES, resource_names=["a", "x"])
    assert (bodies(response), errors(response), response.type_url) == (["a1"], ["x"], ROUTES)
    assert fetch(ROUTES, resource_names=["a", "x"], version_info=response.version_info) == response
    assert bodies(fetch(ENDPOINTS)) == []
    with pytest.raises(InvalidField, match="type_url"):
        fetch(ROUTES, type_url=CLUSTER)
    with pytest.raises(InvalidField, match="node"):
        opened.fetch(DiscoveryRequest(), type_url=CLUSTER)
    assert not opened.streams


async def test_the_kinds_that_are_connected(source: MemorySource) -> None:
    opened = streams(source, FakeClock())
    assert opened.kinds() == set()
    envoy, grpc = Client(opened.open(delta=True), agent="envoy"), Client(opened.open(delta=False))
    opened.open(delta=False)
    envoy.say(CLUSTER)
    grpc.say(CLUSTER)
    assert opened.kinds() == {ENVOY, C_CORE}
    envoy.stream.close()
    assert opened.kinds() == {C_CORE}


async def test_closing_ends_all_and_opens_none(source: MemorySource) -> None:
    opened = streams(source, FakeClock())
    found = [opened.open(delta=False) for _ in range(3)]
    ends = [asyncio.create_task(anext(stream.responses(), None)) for stream in found]
    opened.close()
    assert await asyncio.gather(*ends) == [None] * 3
    assert not opened.streams
    assert not source.changed
    with pytest.raises(KernelStopping):
        opened.open(delta=False)


async def test_run_waits_for_what_is_due_next(source: MemorySource) -> None:
    clock = FakeClock()
    opened = streams(source, clock, ttl=TTL)
    await opened.step()
    assert opened._wait() == TTL / 3
    clock.advance(TTL)
    assert opened._wait() == 0
    forever = streams(source, clock)
    assert forever._wait() is None
    source.put(CLUSTER, "a")
    assert forever._wait() == 0


async def test_what_is_counted(source: MemorySource) -> None:
    clock = FakeClock()
    opened = streams(source, clock)
    spans: list[float] = []
    opened.pushed.append(spans.append)
    client = Client(opened.open(delta=False))
    client.ask(ENDPOINTS, "a")
    client.nack(client.one(), "a")
    source.put(ENDPOINTS, "a")
    clock.advance(0.25)
    await opened.step()
    client.acked("a")
    assert (opened.responses, opened.rejections) == (2, 1)
    assert spans == [0.25]


async def test_streams_that_ask_for_the_same_share_it(source: MemorySource) -> None:
    opened = streams(source, FakeClock())
    found = []
    for _ in range(2):
        client = Client(opened.open(delta=False))
        client.ask(CLUSTER, "a", "b")
        client.acked("b", "a")
        found.append(client.stream._subscriptions[CLUSTER])
    one, other = found
    assert one.names is other.names
    assert one.held is other.held  # type: ignore[attr-defined]  # of the form of the protocol


def wrapped(response: Any) -> list[Resource]:
    if not isinstance(response, DiscoveryResponse):
        return list(response.resources)
    return [Resource.FromString(resource.value) for resource in response.resources]
