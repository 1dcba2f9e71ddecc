"""Load reports of clients: added up by endpoint, for as long as they count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.endpoint.v3.load_report_pb2 import ClusterStats
from google.protobuf.json_format import ParseDict
from sira.registry.v1.load_pb2 import EndpointLoad

from sira_grpc.config import RegistryConfig
from sira_grpc.xds.load_reports import MAX_KEPT, LoadReports
from sira_grpc.xds.node import Node
from sira_grpc.xds.type_urls import ENDPOINTS
from tests.clocks import FakeClock
from tests.unit.registry.world import SERVICE, World, endpoint
from tests.unit.xds.memory_source import MemorySource

INTERVAL = 10.0
NODE = Node(id="n")
CLUSTER = "web.default"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, FakeClock(), RegistryConfig(load_report_ttl=INTERVAL))
    await made.start()
    await made.register(endpoint("a"), endpoint("b"))
    yield made
    await made.stop()


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def reports(world: World, source: MemorySource) -> LoadReports:
    registry = world.registry
    return LoadReports(registry.view, registry.loads, source, world.clock, interval=INTERVAL)


def by_endpoint(*, cluster: str = CLUSTER, port: int = 80, **in_flight: int) -> ClusterStats:
    """What an Envoy reports: each endpoint apart."""
    stats = [
        {
            "address": {"socketAddress": {"address": f"{id_}.web", "portValue": port}},
            "totalRequestsInProgress": str(count),
        }
        for id_, count in in_flight.items()
    ]
    data = {"clusterName": cluster, "upstreamLocalityStats": [{"upstreamEndpointStats": stats}]}
    return ParseDict(data, ClusterStats())


def by_locality(**in_flight: int) -> ClusterStats:
    """What a client of gRPC reports: zones."""
    localities = [
        {"locality": {"zone": zone}, "totalRequestsInProgress": str(count)} for zone, count in in_flight.items()
    ]
    return ParseDict({"clusterName": CLUSTER, "upstreamLocalityStats": localities}, ClusterStats())


def loads(world: World) -> dict[str, int]:
    """What the registry knows is in flight."""
    return {name.rpartition("/")[2]: load.in_flight for name, load in world.registry.loads.items()}


def test_the_shares_of_clients_are_added_up(world: World, reports: LoadReports) -> None:
    one, other = reports.open(), reports.open()
    reports.take(one, NODE, [by_endpoint(a=3, b=1)])
    reports.take(other, NODE, [by_endpoint(a=2)])
    assert loads(world) == {"a": 5, "b": 1}
    assert (reports.clients, reports.reports) == (2, 2)
    reports.take(one, NODE, [by_endpoint(a=1)])  # and nothing at b
    assert loads(world) == {"a": 3, "b": 0}
    reports.close(one)
    assert loads(world) == {"a": 2, "b": 0}
    reports.close(one)
    reports.close(reports.open())
    assert loads(world) == {"a": 2, "b": 0}


def test_parts_of_a_service_count_together(world: World, reports: LoadReports) -> None:
    subset = by_endpoint(cluster=f"{CLUSTER}|version=v1", a=1)
    plain = by_endpoint(cluster="", a=1)
    plain.cluster_service_name = f"xdstp://sira/envoy.config.endpoint.v3.ClusterLoadAssignment/{CLUSTER}"
    reports.take(reports.open(), NODE, [by_endpoint(a=1), subset, plain])
    assert loads(world) == {"a": 3}


@pytest.mark.parametrize("cluster", ["kernel", "inbound:80", "none.default", "web.none", "", "web.default|x"])
def test_clusters_that_are_no_services_are_left_out(world: World, reports: LoadReports, cluster: str) -> None:
    reports.take(reports.open(), NODE, [by_endpoint(cluster=cluster, a=1)])
    assert loads(world) == {}


def test_addresses_that_are_no_endpoints_are_left_out(world: World, reports: LoadReports) -> None:
    reports.take(reports.open(), NODE, [by_endpoint(c=1), by_endpoint(port=81, a=1)])
    assert loads(world) == {}


async def test_endpoints_that_come_and_go_are_known(world: World, reports: LoadReports) -> None:
    client = reports.open()
    reports.take(client, NODE, [by_endpoint(a=1, c=1)])
    await world.register(endpoint("c"))
    reports.take(client, NODE, [by_endpoint(a=1, c=1)])
    assert loads(world) == {"a": 1, "c": 1}
    await world.registry.registrar.delete(f"{SERVICE}/endpoints/a", etag="", actor="test")
    reports.take(client, NODE, [by_endpoint(a=7, c=2)])
    assert loads(world) == {"c": 2}


def test_who_falls_silent_does_not_count(world: World, reports: LoadReports) -> None:
    one, other = reports.open(), reports.open()
    reports.take(one, NODE, [by_endpoint(a=3)])
    world.clock.advance(2 * INTERVAL + 1)
    assert loads(world) == {}
    reports.take(other, NODE, [by_endpoint(a=2)])
    assert (loads(world), reports.clients) == ({"a": 2}, 1)


def test_what_an_endpoint_says_itself_counts_before_it(world: World, reports: LoadReports) -> None:
    client, name = reports.open(), f"{SERVICE}/endpoints/a"
    world.registry.loads.put(EndpointLoad(name=name, in_flight=9))
    reports.take(client, NODE, [by_endpoint(a=3)])
    assert loads(world) == {"a": 9}
    world.clock.advance(INTERVAL + 1)
    reports.take(client, NODE, [by_endpoint(a=3)])
    assert loads(world) == {"a": 3}
    world.registry.loads.put(EndpointLoad(name=name, in_flight=9))
    assert loads(world) == {"a": 9}


async def test_who_drains_does_not_wait_for_callers_to_report(world: World, reports: LoadReports) -> None:
    reports.take(reports.open(), NODE, [by_endpoint(a=3)])
    assert world.registry.loads.idle_since(f"{SERVICE}/endpoints/a", world.clock.monotonic())


def assignment(**zones: list[str]) -> bytes:
    """Endpoints by zone."""
    endpoints = [
        {
            "locality": {"zone": zone},
            "lbEndpoints": [
                {"endpoint": {"address": {"socketAddress": {"address": f"{id_}.web", "portValue": 80}}}} for id_ in ids
            ],
        }
        for zone, ids in zones.items()
    ]
    made: Any = ParseDict({"clusterName": CLUSTER, "endpoints": endpoints}, ClusterLoadAssignment())
    return bytes(made.SerializeToString())


def test_a_locality_with_one_endpoint_tells_of_it(world: World, reports: LoadReports, source: MemorySource) -> None:
    client = reports.open()
    reports.take(client, NODE, [by_locality(x=4)])
    assert loads(world) == {}
    source.put(ENDPOINTS, CLUSTER, body=assignment(x=["a"], y=["b", "c"]))
    reports.take(client, NODE, [by_locality(x=4, y=3, z=2)])
    assert loads(world) == {"a": 4}
    source.put(ENDPOINTS, CLUSTER, body=assignment(x=["a", "c"], y=["b"]))
    reports.take(client, NODE, [by_locality(x=4, y=3)])
    assert loads(world) == {"a": 0, "b": 3}
    source.put(ENDPOINTS, CLUSTER, body=assignment(x=["a", "c"]))
    reports.take(client, NODE, [by_locality(x=4, y=2)])
    assert loads(world) == {"a": 0, "b": 2}, "it drains, and calls to it are still under way"


def test_what_can_be_made_again_is_not_kept_for_ever(reports: LoadReports, source: MemorySource) -> None:
    for number in range(MAX_KEPT + 10):
        source.put(ENDPOINTS, CLUSTER, body=assignment(**{f"z{number}": ["a"]}))
        reports.take(1, NODE, [by_locality(x=1)])
    assert len(reports._alone) <= MAX_KEPT


def test_a_count_that_no_field_holds_is_cut(world: World, reports: LoadReports) -> None:
    reports.take(reports.open(), NODE, [by_endpoint(a=2**63)])
    assert loads(world) == {"a": 2**32 - 1}
