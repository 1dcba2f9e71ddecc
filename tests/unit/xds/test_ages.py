from __future__ import annotations

from sira_grpc.xds.ages import FIRST, Ages
from sira_grpc.xds.names import Target
from sira_grpc.xds.node import Node
from sira_grpc.xds.references import LINGER
from sira_grpc.xds.source import Change
from sira_grpc.xds.subjects import Scope, Subject
from sira_grpc.xds.transitions import WARM
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from tests.unit.xds.mesh import API, WEB, Mesh, endpoint
from tests.unit.xds.test_references import to

V2 = Subject("web.default|version=v2", Scope.TARGET, Target(WEB, "v2"))
NODE = Node("n", service=API)


def about(service: str) -> Subject:
    return Subject("", Scope.TARGET, Target(service))


class Followed:
    """Ages that follow a mesh."""

    def __init__(self) -> None:
        self.mesh = Mesh()
        world = self.mesh.world
        self.ages = Ages(self.mesh.view, world.references, world.transitions)
        self.mesh.service(API)
        self.mesh.service(WEB)
        assert self.ages.membership == FIRST
        self.changes: list[Change] = []
        self.mesh.view.hooks.services_changed.append(
            lambda services: self.changes.append(self.ages.services_changed(services, self.mesh.clock.monotonic()))
        )

    def of(self, type_url: str, subject: Subject) -> int:
        return self.ages.of(type_url, subject, NODE)


def test_each_is_as_old_as_what_it_is_made_of() -> None:
    followed = Followed()
    mesh, ages, of = followed.mesh, followed.ages, followed.of
    everything = Subject("egress", Scope.MESH)
    own = Subject("inbound:80", Scope.CLIENT)
    assert {of(CLUSTER, about(WEB)), of(ENDPOINTS, about(WEB)), of(CLUSTER, everything), of(LISTENER, own)} == {FIRST}
    mesh.endpoint(endpoint(1))
    assert (of(CLUSTER, about(WEB)), of(ENDPOINTS, about(WEB)), of(CLUSTER, everything)) == (1, 2, 1)
    mesh.service(WEB)
    assert (of(CLUSTER, about(WEB)), of(ENDPOINTS, about(WEB)), of(CLUSTER, everything)) == (3, 3, 3)
    assert (of(LISTENER, own), of(CLUSTER, about(API))) == (1, 1)
    mesh.service(API)
    assert (of(LISTENER, own), of(CLUSTER, about(WEB))) == (4, 3)
    ages.weights_moved(frozenset({WEB}))
    assert (of(CLUSTER, about(WEB)), of(ENDPOINTS, about(WEB))) == (3, 5)
    ages.trust_changed()
    assert of(SECRET, Subject("trust", Scope.TRUST)) == ages.generation == 6


def test_what_belongs_to_the_service_of_a_client_changes_when_that_comes_and_goes() -> None:
    followed = Followed()
    own = Subject("inbound:80", Scope.CLIENT)
    followed.mesh.delete_service(API)
    gone = followed.of(LISTENER, own)
    assert gone == followed.ages.generation
    followed.mesh.service(API)
    assert followed.of(LISTENER, own) == followed.ages.generation > gone


def test_a_subset_is_no_older_than_the_reference_to_it() -> None:
    followed = Followed()
    assert followed.of(CLUSTER, V2) == 0
    followed.mesh.service(API, routes=to(V2.target or Target("")).routes)
    assert followed.of(CLUSTER, V2) == followed.ages.membership == followed.ages.generation
    first = followed.ages.generation
    followed.ages.told(followed.ages.generation, followed.mesh.clock.monotonic())
    followed.mesh.clock.advance(WARM)
    assert followed.ages.settle(followed.mesh.clock.monotonic()) is not None, "the routes to it take effect"
    followed.mesh.service(API)
    assert followed.ages.due == followed.mesh.clock.monotonic() + LINGER
    assert followed.ages.settle(followed.mesh.clock.monotonic()) is None
    assert followed.of(CLUSTER, V2) == first
    followed.mesh.service(API, routes=to(V2.target or Target("")).routes)
    assert followed.ages.due is None
    assert followed.of(CLUSTER, V2) == followed.ages.membership == first
    followed.mesh.service(API)
    followed.mesh.clock.advance(LINGER)
    settled = followed.ages.settle(followed.mesh.clock.monotonic())
    assert settled is not None
    assert V2.plain in settled.names[CLUSTER] & settled.names[ENDPOINTS]
    assert followed.ages.membership == settled.generation
    assert followed.of(CLUSTER, V2) == 0


def test_the_routes_of_those_that_lead_to_a_service_change_as_it_goes_and_comes() -> None:
    followed = Followed()
    followed.mesh.service(API, routes=to(Target(WEB)).routes)
    for change in (followed.mesh.delete_service, followed.mesh.service):
        change(WEB)
        assert "api.default" in followed.changes[-1].names[ROUTES]
        assert followed.of(ROUTES, about(API)) == followed.ages.generation
    followed.mesh.service(WEB, subset_size=1)
    assert "api.default" not in followed.changes[-1].names[ROUTES]


def test_nothing_is_kept_of_services_that_are_gone() -> None:
    followed = Followed()
    for _ in range(3):
        followed.mesh.service(WEB, routes=to(V2.target or Target("")).routes, subset_size=1)
        followed.mesh.endpoint(endpoint(1))
        followed.ages.weights_moved(frozenset({WEB}))
        followed.mesh.delete_service(WEB)
    followed.mesh.delete_service(API)
    ages = followed.ages
    followed.mesh.clock.advance(LINGER)
    ages.settle(followed.mesh.clock.monotonic())
    assert ages.due is None
    for held in (ages._revisions, ages._services, ages._endpoints, ages._begun, ages._moved, ages._alike):
        assert not held
