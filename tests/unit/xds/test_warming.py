"""Routes wait until an Envoy can use the clusters that it was sent."""

from __future__ import annotations

import pytest
from sira.xds.v1.client_pb2 import ResourceState

from sira_grpc.xds.streams import Streams
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, ROUTES
from sira_grpc.xds.warming import LONGEST
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import Client, bodies, types
from tests.unit.xds.test_stream import FORMS, ask, settle

NEW = {(CLUSTER, "b"): b"b1", (ENDPOINTS, "b"): b"e1", (ROUTES, "r"): b"r2"}


class Envoy(Client):
    """Asks for all clusters, for the endpoints of some, and for one resource of routes."""

    def __init__(self, opened: Streams, *, delta: bool, agent: str = "envoy") -> None:
        super().__init__(opened.open(delta=delta), agent=agent)
        self.asked: dict[str, tuple[str, ...]] = {CLUSTER: ("*",), ENDPOINTS: ("a",), ROUTES: ("r",)}
        for type_url, names in self.asked.items():
            ask(self, type_url, *names)
            while (response := self.take()) is not None:
                self.accept(response)

    def accept(self, response: object) -> None:
        self.ack(response, *self.asked[response.type_url])  # type: ignore[attr-defined]  # untyped message

    def ask_for_endpoints(self, *names: str) -> None:
        self.asked[ENDPOINTS] = ("a", *names)
        ask(self, ENDPOINTS, *(names if self.stream.delta else self.asked[ENDPOINTS]))


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource()
    source.change({(CLUSTER, "a"): b"a1", (ENDPOINTS, "a"): b"e1", (ROUTES, "r"): b"r1"})
    return source


@FORMS
async def test_routes_come_once_new_clusters_and_their_endpoints_are_accepted(
    opened: Streams, source: MemorySource, *, delta: bool
) -> None:
    envoy = Envoy(opened, delta=delta)
    source.change(NEW)
    await opened.step()
    clusters = envoy.one()
    assert clusters.type_url == CLUSTER
    [told] = [row for row in envoy.stream.resources() if row.type_url == ROUTES]
    assert told.state == ResourceState.RESOURCE_STATE_PENDING
    envoy.ask_for_endpoints("b")
    endpoints = envoy.one()
    assert endpoints.type_url == ENDPOINTS
    envoy.accept(clusters)
    assert envoy.take() is None
    envoy.accept(endpoints)
    assert bodies(envoy.one()) == ["r2"]


@FORMS
async def test_routes_come_at_once_where_no_cluster_is_new(
    opened: Streams, source: MemorySource, *, delta: bool
) -> None:
    envoy = Envoy(opened, delta=delta)
    source.change({(ENDPOINTS, "a"): b"e2", (ROUTES, "r"): b"r2"})
    await opened.step()
    assert types(envoy.take_all()) == [ENDPOINTS, ROUTES]


@FORMS
async def test_routes_do_not_wait_for_long(
    opened: Streams, source: MemorySource, clock: FakeClock, *, delta: bool
) -> None:
    envoy = Envoy(opened, delta=delta)
    source.change(NEW)
    await opened.step()
    envoy.accept(envoy.one())
    clock.advance(LONGEST - 0.1)
    await opened.step()
    assert envoy.take() is None
    clock.advance(0.2)
    await opened.step()
    assert bodies(envoy.one()) == ["r2"]
    source.put(ROUTES, "r", body=b"r3")
    await opened.step()
    assert bodies(envoy.one()) == ["r3"], "what it has waited for once it does not wait for again"


@FORMS
async def test_other_types_go_on_meanwhile(opened: Streams, source: MemorySource, *, delta: bool) -> None:
    envoy = Envoy(opened, delta=delta)
    source.change(NEW)
    await opened.step()
    envoy.take_all()
    source.put(ENDPOINTS, "a", body=b"e2")
    await opened.step()
    assert bodies(envoy.one()) == ["e2"]


@FORMS
async def test_a_cluster_that_is_rejected_or_has_no_endpoints_is_not_waited_for(
    opened: Streams, source: MemorySource, *, delta: bool
) -> None:
    envoy = Envoy(opened, delta=delta)
    source.change({(CLUSTER, "inbound"): b"static", (ROUTES, "r"): b"r2"})
    await opened.step()
    envoy.accept(envoy.one())
    envoy.accept(envoy.one())
    source.change({(CLUSTER, "c"): b"bad", (ENDPOINTS, "c"): b"e1", (ROUTES, "r"): b"r3"})
    await opened.step()
    envoy.nack(envoy.one(), "*", reason="c: bad")
    assert bodies(envoy.one()) == ["r3"]


@FORMS
async def test_a_cluster_that_is_gone_again_is_not_waited_for(
    opened: Streams, source: MemorySource, *, delta: bool
) -> None:
    envoy = Envoy(opened, delta=delta)
    source.change(NEW)
    await opened.step()
    envoy.accept(envoy.one())
    source.change({(CLUSTER, "b"): None, (ENDPOINTS, "b"): None})
    await opened.step()
    assert ROUTES in settle(envoy, "r")


@FORMS
async def test_clients_of_grpc_are_sent_routes_at_once(opened: Streams, source: MemorySource, *, delta: bool) -> None:
    client = Envoy(opened, delta=delta, agent="gRPC C-core linux Python")
    source.change(NEW)
    await opened.step()
    assert types(client.take_all()) == [CLUSTER, ROUTES]


@FORMS
async def test_clusters_of_which_nobody_has_told_yet_come_before_the_routes_to_them(
    opened: Streams, source: MemorySource, *, delta: bool
) -> None:
    envoy = Envoy(opened, delta=delta)
    source.change(NEW)
    await opened.step()
    clusters = envoy.one()
    envoy.ask_for_endpoints("b")
    endpoints = envoy.one()
    source.change({(CLUSTER, "c"): b"c1", (ENDPOINTS, "c"): b"e1", (ROUTES, "r"): b"r3"})
    envoy.accept(clusters)
    envoy.accept(endpoints)
    assert "c1" in bodies(envoy.one()), "the routes are made of what there is when they are sent"


@FORMS
async def test_nobody_need_wake_a_stream_whose_wait_ends_while_it_looks(
    opened: Streams, source: MemorySource, clock: FakeClock, *, delta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    envoy = Envoy(opened, delta=delta)
    source.change(NEW)
    await opened.step()
    envoy.take_all()
    clock.advance(LONGEST - 1e-9)
    still = clock.monotonic

    def goes_on() -> float:
        clock.advance(1e-9)
        return still()

    monkeypatch.setattr(clock, "monotonic", goes_on)
    responses = envoy.take_all()
    monkeypatch.undo()
    if not responses:
        assert envoy.stream.overdue(clock.monotonic()) == float("inf"), "it is woken"
        responses = envoy.take_all()
    assert ROUTES in types(responses)
