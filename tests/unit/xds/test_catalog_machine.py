"""Clients that fetch only what the catalog names as changed, and younger than they are, have what there is."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from google.protobuf.duration_pb2 import Duration
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sira.registry.v1.route_pb2 import Destination, Route, Split
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, SlowStart

from sira_grpc.registry.view import RegistryView
from sira_grpc.xds import clusters, endpoints
from sira_grpc.xds.catalog import Catalog
from sira_grpc.xds.node import C_CORE, ENVOY, GO, Node
from sira_grpc.xds.recent import Recent
from sira_grpc.xds.references import LINGER
from sira_grpc.xds.source import Change
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS
from sira_grpc.xds.world import World
from tests.clocks import FakeClock
from tests.unit.xds.mesh import API, HELD, SUSPECT, WEB, Mesh, endpoint

NAMES = ("web.default", "api.default", "web.default|version=v2", "api.default|version=v2")
TYPES = (CLUSTER, ENDPOINTS)
NODES = (
    Node("a", kind=C_CORE, region="r", zone="a"),
    Node("b", kind=GO, region="r", zone="b"),
    Node("c", kind=GO),
    Node("e", kind=ENVOY, region="q", zone="a"),
    Node("f", kind=ENVOY, upstreams=frozenset({API})),
)
SERVICES = st.sampled_from([WEB, API])
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "lb_policy": st.sampled_from([LbPolicy.LB_POLICY_WEIGHTED, LbPolicy.LB_POLICY_RING_HASH]),
        "locality_failover": st.just(LocalityFailover()),
        "slow_start": st.just(SlowStart(window=Duration(seconds=30))),
        "subset_size": st.just(1),
        "routes": SERVICES.map(
            lambda service: [Route(splits=[Split(weight=1, destination=Destination(service=service, version="v2"))])]
        ),
    },
)


class Client:
    """What one client has, as a stream would keep it."""

    def __init__(self, catalog: Catalog, node: Node) -> None:
        self.catalog = catalog
        self.node = node
        self.held: dict[tuple[str, str], str] = {}
        self.dirty: defaultdict[str, set[str]] = defaultdict(set)
        self.at = 0
        for type_url in TYPES:
            self.dirty[type_url].update(NAMES)

    def told(self, change: Change) -> None:
        for type_url, names in change.names.items():
            self.dirty[type_url] |= names

    def fetch(self) -> None:
        for type_url in TYPES:
            for name in self.dirty[type_url].intersection(NAMES):
                resource = self.catalog.get(type_url, name, self.node)
                if resource is None:
                    self.held.pop((type_url, name), None)
                elif resource.generation > self.at:
                    self.held[type_url, name] = resource.version
            self.dirty[type_url].clear()
        self.at = self.catalog.generation


class CatalogMachine(RuleBasedStateMachine):
    """Commits, time and evictions in any order; clients fetch when they come to it."""

    @initialize()
    def begin(self) -> None:
        self.mesh = Mesh()
        self.catalog = Catalog(self.mesh.world, {CLUSTER: clusters.build, ENDPOINTS: endpoints.build})
        self.clients = [Client(self.catalog, node) for node in NODES]
        self.wildcards: dict[Node, frozenset[str]] = {}
        for client in self.clients:
            self.catalog.changed.append(client.told)
            client.fetch()

    @rule(service=SERVICES, policy=POLICIES)
    def write_service(self, service: str, policy: dict[str, Any]) -> None:
        self.mesh.service(service, **policy)

    @rule(service=SERVICES)
    def delete_service(self, service: str) -> None:
        if service in self.mesh.view.services:
            self.mesh.delete_service(service)

    @rule(
        service=SERVICES,
        number=st.integers(1, 3),
        place=st.sampled_from([("", ""), ("r", "a"), ("r", "b"), ("q", "a")]),
        version=st.sampled_from(["", "v2"]),
        lease=st.sampled_from([HELD, SUSPECT]),
    )
    def register(self, service: str, number: int, place: tuple[str, str], version: str, lease: str) -> None:
        if service in self.mesh.view.services:
            made = endpoint(number, service=service, region=place[0], zone=place[1], version=version, weight=number)
            self.mesh.endpoint(made, lease=lease)

    @rule(service=SERVICES, number=st.integers(1, 3), drain=st.booleans())
    def leave(self, service: str, number: int, drain: bool) -> None:
        entry = self.mesh.view.services.get(service)
        if entry is not None and f"{service}/endpoints/e{number}" in entry.endpoints:
            (self.mesh.drain if drain else self.mesh.delete_endpoint)(f"e{number}", service)

    @rule(seconds=st.sampled_from([1, 3, 10, 100]), tick=st.booleans())
    def wait(self, seconds: int, tick: bool) -> None:
        self.mesh.clock.advance(seconds)
        if tick:
            self.catalog.tick()

    @rule(clients=st.sets(st.sampled_from(range(len(NODES)))))
    def fetch(self, clients: set[int]) -> None:
        for client in sorted(clients):
            self.clients[client].fetch()

    @rule(chance=st.integers(0, 3))
    def evict(self, chance: int) -> None:
        if not chance:
            self.catalog._resources = Recent(1 << 20)

    @rule()
    def all_fetch(self) -> None:
        self.catalog.tick()
        for client in self.clients:
            client.fetch()
            for type_url in TYPES:
                for name in NAMES:
                    resource = self.catalog.get(type_url, name, client.node)
                    there = resource.version if resource is not None else None
                    assert client.held.get((type_url, name)) == there, (type_url, name, client.node)

    @rule()
    def a_member_that_starts_now_has_the_same(self) -> None:
        self.mesh.clock.advance(LINGER)
        clock = FakeClock(time_ns=self.mesh.clock.time_ns())
        view = RegistryView(clock)
        view.load(self.mesh.snapshot(), compacted=0)
        other = Catalog(
            World(view, clock, load_report_interval=0.0), {CLUSTER: clusters.build, ENDPOINTS: endpoints.build}
        )
        self.catalog.tick()
        for node in NODES:
            assert other.names(CLUSTER, node) == self.catalog.names(CLUSTER, node)
            for type_url in TYPES:
                for name in NAMES:
                    mine, theirs = (each.get(type_url, name, node) for each in (self.catalog, other))
                    assert (mine and mine.body) == (theirs and theirs.body), (type_url, name, node)

    @invariant()
    def names_are_the_same_object_while_they_stay(self) -> None:
        for node in NODES:
            names = self.catalog.names(CLUSTER, node)
            before = self.wildcards.get(node)
            assert before is None or (names is before) == (names == before)
            self.wildcards[node] = names
            for name in names:
                assert self.catalog.get(CLUSTER, name, node) is not None


CatalogMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCatalogMachine = CatalogMachine.TestCase
