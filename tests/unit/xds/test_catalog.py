from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.route_pb2 import Destination, Route, Split
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover

from sira_grpc.registry.view import RegistryView
from sira_grpc.xds import catalog as catalog_module
from sira_grpc.xds import clusters, endpoints, routes, secrets
from sira_grpc.xds.catalog import Builder, Catalog
from sira_grpc.xds.names import xdstp
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, Inbound, Node
from sira_grpc.xds.references import LINGER, References
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.source import Change
from sira_grpc.xds.transitions import Transitions
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from sira_grpc.xds.world import World
from tests.clocks import FakeClock
from tests.unit.xds.mesh import API, WEB, Mesh, endpoint

BUILDERS: dict[str, Builder] = {CLUSTER: clusters.build, ENDPOINTS: endpoints.build, SECRET: secrets.build}
CLIENT = Node("c", kind=C_CORE, region="r", zone="a")
SIDECAR = Node("s", kind=ENVOY, service=WEB, inbound=(Inbound(9000, 80),), egress_port=9001)
NAME = "web.default"
V2 = "web.default|version=v2"


class Told:
    """A mesh, its catalog, and the changes that it told of."""

    def __init__(self, mesh: Mesh | None = None) -> None:
        self.mesh = mesh or Mesh()
        world = replace(self.mesh.world, references=References(), transitions=Transitions())
        self.catalog = Catalog(world, BUILDERS)
        self.changes: list[Change] = []
        self.catalog.changed.append(self.changes.append)

    def get(self, type_url: str = ENDPOINTS, name: str = NAME, node: Node = CLIENT) -> Resource:
        found = self.catalog.get(type_url, name, node)
        assert found is not None
        return found

    @property
    def last(self) -> Change:
        return self.changes[-1]


def to_v2(service: str = WEB) -> list[Route]:
    return [Route(splits=[Split(weight=1, destination=Destination(service=service, version="v2"))])]


@pytest.fixture
def told() -> Told:
    made = Told()
    made.mesh.service()
    made.mesh.endpoint(endpoint(1))
    return made


def test_the_same_resource_for_all_who_are_alike(told: Told) -> None:
    first = told.get()
    assert told.get() is first
    assert told.get(node=Node("other", kind=C_CORE, zone="b")) is first
    assert told.get(node=Node("e", kind=ENVOY)) is not first
    assert told.get(CLUSTER, node=Node("g", kind=GO)) is not told.get(CLUSTER, node=Node("j", kind=JAVA))


def test_a_change_of_endpoints_is_told_by_type_and_made_when_asked_for(told: Told) -> None:
    before, cluster = told.get(), told.get(CLUSTER)
    told.mesh.endpoint(endpoint(2))
    assert told.last.generation == told.catalog.generation
    assert told.last.services == {WEB}
    assert set(told.last.names) == {ENDPOINTS}
    assert {NAME, xdstp(NAME, ENDPOINTS)} <= told.last.names[ENDPOINTS]
    after = told.get()
    assert after.generation == told.last.generation > before.generation
    assert after.before is before
    assert told.get(CLUSTER) is cluster


def test_what_is_made_anew_and_is_the_same_stays(told: Told) -> None:
    before = told.get()
    told.mesh.endpoint(endpoint(1, metadata={"not": "seen"}))
    assert NAME in told.last.names[ENDPOINTS]
    assert told.get() is before


def test_only_one_step_back_is_kept(told: Told) -> None:
    for number in (2, 3):
        told.get()
        told.mesh.endpoint(endpoint(number))
    last = told.get()
    assert last.before is not None
    assert last.before.before is None


def test_a_written_service_changes_everything_of_it(told: Told) -> None:
    told.mesh.service(lb_policy=LbPolicy.LB_POLICY_RING_HASH)
    names = told.last.names
    assert {NAME, "web", xdstp(NAME, LISTENER), xdstp("web", LISTENER)} == names[LISTENER]
    assert {NAME, "web", xdstp(NAME, ROUTES), xdstp("web", ROUTES)} < names[ROUTES]
    assert "egress" in names[ROUTES]
    assert NAME in names[CLUSTER]
    assert NAME in names[ENDPOINTS]


def test_another_service_changes_nothing(told: Told) -> None:
    before = told.get()
    told.mesh.service(API)
    assert told.last.services == {API}
    assert told.get() is before


def test_a_service_that_goes_and_comes_is_new_even_if_it_is_the_same(told: Told) -> None:
    told.mesh.service(API)
    told.mesh.service()
    before = told.get(CLUSTER)
    told.mesh.delete_service()
    gone = told.last
    assert NAME in gone.names[CLUSTER]
    assert told.catalog.get(CLUSTER, NAME, CLIENT) is None
    assert told.catalog.get(ENDPOINTS, NAME, CLIENT) is None
    told.mesh.service()
    again = told.get(CLUSTER)
    assert again.body == before.body
    assert again.generation > gone.generation


@pytest.mark.parametrize(
    "name",
    ["", "web", "web.default|", "Web.default", "web.default|version=", "other.default", V2, "web.default|b=1|a=1"],
)
def test_no_resource_for_what_is_no_name(told: Told, name: str) -> None:
    assert told.catalog.get(CLUSTER, name, CLIENT) is None
    assert told.catalog.get(ENDPOINTS, name, CLIENT) is None
    assert told.catalog.get("type.googleapis.com/none", name, CLIENT) is None


def test_a_subset_is_there_until_policies_have_not_referred_to_it_for_a_while(told: Told) -> None:
    told.mesh.endpoint(endpoint(2, version="v2"))
    told.mesh.service(API, routes=to_v2())
    assert {NAME, V2} <= told.last.names[CLUSTER] | {NAME}
    subset = told.get(name=V2)
    assert subset.generation == told.last.generation  # not that of the endpoints, which are older
    assert len(ClusterLoadAssignment.FromString(subset.body).endpoints) == 1
    assert Cluster.FromString(told.get(CLUSTER, V2).body).name == V2
    assert V2 in told.catalog.names(CLUSTER, SIDECAR)

    told.mesh.endpoint(endpoint(3))
    assert {NAME, V2} <= told.last.names[ENDPOINTS]
    assert told.get(name=V2) is subset

    told.mesh.service(API)
    told.mesh.clock.advance(LINGER - 0.1)
    told.catalog.tick()
    assert V2 in told.catalog.names(CLUSTER, SIDECAR)
    told.mesh.endpoint(endpoint(4, version="v2"))
    assert V2 in told.last.names[ENDPOINTS]
    assert len(ClusterLoadAssignment.FromString(told.get(name=V2).body).endpoints[0].lb_endpoints) == 2
    told.mesh.delete_endpoint("e4")

    told.mesh.clock.advance(0.2)
    told.catalog.tick()
    assert V2 in told.last.names[CLUSTER]
    assert V2 in told.last.names[ENDPOINTS]
    assert told.catalog.get(CLUSTER, V2, CLIENT) is None
    assert V2 not in told.catalog.names(CLUSTER, SIDECAR)

    told.mesh.service(API, routes=to_v2())
    assert told.get(name=V2).body == subset.body
    assert told.get(name=V2).generation == told.last.generation


def test_a_subset_of_a_service_that_goes_is_told(told: Told) -> None:
    told.mesh.service(API, routes=to_v2())
    told.mesh.delete_service()
    assert V2 in told.last.names[CLUSTER]
    assert told.catalog.get(CLUSTER, V2, CLIENT) is None


def test_a_name_of_a_subset_has_one_spelling(told: Told) -> None:
    told.mesh.service(API, routes=to_v2())
    assert told.catalog.get(CLUSTER, "web.default|version=%762", CLIENT) is None


def test_xdstp_names_are_those_of_the_messages(told: Told) -> None:
    for type_url, field, message in ((CLUSTER, "name", Cluster), (ENDPOINTS, "cluster_name", ClusterLoadAssignment)):
        name = xdstp(NAME, type_url)
        found = told.get(type_url, name)
        assert found.name == name
        assert getattr(message.FromString(found.body), field) == name
    assert Cluster.FromString(told.get(CLUSTER, xdstp(NAME, CLUSTER)).body).eds_cluster_config.service_name == NAME


def test_variants_by_place_only_while_the_policy_looks_at_it(told: Told) -> None:
    here, there = Node("a", region="q", zone="a"), Node("b", region="r", zone="b")
    told.mesh.endpoint(endpoint(2, region="r", zone="b"))
    told.mesh.service(locality_failover=LocalityFailover())
    near, far = told.get(node=here), told.get(node=there)
    assert near.body != far.body
    told.mesh.service()
    alike = told.get(node=here)
    assert told.get(node=there) is alike
    told.mesh.service(locality_failover=LocalityFailover())
    # What was made under the first policy is the same again, but not what the client has.
    assert told.get(node=here).body == near.body
    assert told.get(node=here).generation == told.last.generation


def test_names_are_the_same_set_until_it_changes(told: Told) -> None:
    names = told.catalog.names(CLUSTER, SIDECAR)
    assert names == {NAME, "inbound:9000"}
    told.mesh.endpoint(endpoint(2))
    told.mesh.service(timeout=Duration(seconds=1))
    assert told.catalog.names(CLUSTER, SIDECAR) is names
    told.mesh.service(API)
    assert told.catalog.names(CLUSTER, SIDECAR) == {NAME, "api.default", "inbound:9000"}


def test_a_catalog_that_is_made_before_the_view_is_loaded(told: Told) -> None:
    told.mesh.service(API, routes=to_v2())
    view = RegistryView(FakeClock())
    late = Catalog(World(view, FakeClock()), BUILDERS)
    view.load(told.mesh.snapshot(), compacted=0)
    loaded = late.get(ENDPOINTS, NAME, CLIENT)
    assert loaded is not None
    assert loaded.version == told.get().version
    assert late.get(CLUSTER, V2, CLIENT) is not None


def test_what_was_there_before_the_catalog_is_there(told: Told) -> None:
    told.mesh.service(API, routes=to_v2())
    later = Told(told.mesh)
    assert later.get(name=V2).generation == later.catalog.generation
    assert later.get().version == told.get().version
    told.mesh.endpoint(endpoint(2, version="v2"))
    assert V2 in later.last.names[ENDPOINTS]
    assert set(later.last.names) == {ENDPOINTS}


def test_what_cannot_be_made_is_missing_and_logged_once(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    broken = True

    def build(world: World, name: str, node: Node) -> Message | None:
        if broken and name == NAME:
            raise ValueError("broken")
        return clusters.build(world, name, node)

    told.mesh.service(API)
    catalog = Catalog(told.mesh.world, {CLUSTER: build})
    for node in (CLIENT, CLIENT, SIDECAR):
        assert catalog.get(CLUSTER, NAME, node) is None
    assert catalog.get(CLUSTER, "api.default", CLIENT) is not None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    broken = False
    assert catalog.get(CLUSTER, NAME, CLIENT) is not None


def test_what_cannot_be_made_any_more_stays_as_it_was(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    broken, tries = False, 0

    def build(world: World, name: str, node: Node) -> Message | None:
        nonlocal tries
        tries += 1
        if broken:
            raise ValueError("broken")
        return clusters.build(world, name, node)

    catalog = Catalog(told.mesh.world, {CLUSTER: build})
    for name in (NAME, xdstp(NAME, CLUSTER)):
        before, broken = catalog.get(CLUSTER, name, CLIENT), True
        told.mesh.service(timeout=Duration(seconds=1))
        tries = 0
        assert catalog.get(CLUSTER, name, CLIENT) is catalog.get(CLUSTER, name, CLIENT) is before is not None
        assert tries == 1, "it is tried again when something has changed"
        told.mesh.delete_service()
        assert catalog.get(CLUSTER, name, CLIENT) is None
        told.mesh.service()
        again, broken = catalog.get(CLUSTER, name, CLIENT), False
        assert again is not None
        assert before is not None
        assert (again.body, again.generation) == (before.body, catalog.generation)
        told.mesh.service(lb_policy=LbPolicy.LB_POLICY_RING_HASH)
        mended = catalog.get(CLUSTER, name, CLIENT)
        assert mended is not None
        assert mended.body != before.body
        told.mesh.service()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_what_clients_say_of_themselves_counts_in_what_is_kept(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "KEPT_BYTES", 1 << 20)
    monkeypatch.setattr(catalog_module, "KEPT_NAME_BYTES", 1 << 20)
    catalog = Catalog(told.mesh.world, {**BUILDERS, ROUTES: routes.build})
    for number in range(60):
        upstreams = frozenset(f"namespaces/default/services/{number}-{n}" for n in range(1000))
        node = Node("s", kind=ENVOY, upstreams=upstreams, egress_port=80)
        assert catalog.names(CLUSTER, node) == frozenset()
        assert catalog.get(ROUTES, "egress", node) is not None
    assert len(catalog._names) < 30
    assert len(catalog._resources) < 30


def test_a_resource_that_nobody_asked_for_goes_and_is_no_news_when_it_is_made_again(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "KEPT_BYTES", 4096)
    told.mesh.service(subset_size=1)
    catalog = Catalog(told.mesh.world, BUILDERS)
    first = catalog.get(ENDPOINTS, NAME, CLIENT)
    for number in range(100):
        assert catalog.get(ENDPOINTS, NAME, Node(f"n{number}", kind=C_CORE)) is not None
        assert len(catalog._resources) < 20
    told.mesh.service(API)
    again = catalog.get(ENDPOINTS, NAME, CLIENT)
    assert first is not None
    assert again is not None
    assert again is not first
    assert (again.version, again.generation) == (first.version, first.generation)


def test_trust() -> None:
    told = Told(Mesh(trust_domain="td"))
    before = told.get(SECRET, "trust")
    assert told.catalog.get(SECRET, "identity", SIDECAR) is None
    assert told.catalog.names(SECRET, SIDECAR) == {"trust"}
    told.mesh.roots = b"-others-"
    told.catalog.trust_changed()
    assert told.last.names == {SECRET: {"trust", xdstp("trust", SECRET)}}
    assert told.get(SECRET, "trust").generation == told.last.generation > before.generation
    told.mesh.roots = b""
    told.catalog.trust_changed()
    assert told.catalog.get(SECRET, "trust", SIDECAR) is None
    assert told.catalog.names(SECRET, SIDECAR) == frozenset()


def test_what_depends_on_the_service_of_the_client(told: Told) -> None:
    server = "grpc/server?xds.resource.listening_address=0.0.0.0:80"
    for name in (server, "inbound:80", xdstp(server, LISTENER), xdstp("inbound:80", CLUSTER)):
        assert told.catalog.depends_on_node(name), name
    for name in (NAME, "web", "egress", xdstp(NAME, CLUSTER), "trust"):
        assert not told.catalog.depends_on_node(name), name
    assert Cluster.FromString(told.get(CLUSTER, "inbound:9000", SIDECAR).body).name == "inbound:9000"
    assert told.catalog.get(CLUSTER, "inbound:9001", SIDECAR) is None


def test_a_state_that_clients_of_grpc_do_not_see_is_no_change(told: Told) -> None:
    told.mesh.endpoint(endpoint(5, check="grpc", locality=Locality(zone="z")))
    before = told.get()
    told.mesh.health("e5", HealthState.HEALTH_STATE_NOT_SERVING)
    assert told.get() is before
    told.mesh.health("e5", HealthState.HEALTH_STATE_SERVING)
    assert told.get().generation == told.last.generation
