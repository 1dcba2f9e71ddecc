from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import Route as XdsRoute
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from sira.registry.v1.route_pb2 import Destination, Mirror

from sira_grpc.xds import routes
from sira_grpc.xds.catalog import Catalog
from sira_grpc.xds.names import Target
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN, Node
from sira_grpc.xds.references import LINGER
from sira_grpc.xds.source import Change
from sira_grpc.xds.transitions import WARM
from sira_grpc.xds.type_urls import ROUTES
from tests.unit.xds.mesh import API, WEB, Mesh
from tests.unit.xds.test_references import to

V1, V2 = Target(WEB, "v1"), Target(WEB, "v2")
GOPHER = Node("g", kind=GO)
AT_ONCE = tuple(Node("c", kind=kind) for kind in (C_CORE, JAVA, NODE_JS, UNKNOWN, ENVOY))


class Callers:
    """Clients that call the service `web`."""

    def __init__(self) -> None:
        self.mesh = Mesh()
        self.catalog = Catalog(self.mesh.world, {ROUTES: routes.build})
        self.changes: list[Change] = []
        self.catalog.changed.append(self.changes.append)
        self.mesh.service(API)
        self.mesh.service(WEB)
        self.routes()

    def write(self, *found: Target) -> None:
        self.mesh.service(WEB, routes=to(*found).routes)

    def wait(self, seconds: float) -> bool:
        """Returns whether clients were told of their routes meanwhile. They were of all that was before."""
        self.catalog.told(self.catalog.generation)
        before = len(self.changes)
        self.mesh.clock.advance(seconds)
        self.catalog.tick()
        return any("web.default" in change.names.get(ROUTES, ()) for change in self.changes[before:])

    def routes(self, node: Node = GOPHER) -> tuple[list[str], list[str]]:
        """Returns the clusters that calls go to, and those that are kept warm."""
        resource = self.catalog.get(ROUTES, "web.default", node)
        assert resource is not None
        used, warm = list[str](), list[str]()
        for route in RouteConfiguration.FromString(resource.body).virtual_hosts[0].routes:
            (warm if _never(route) else used).extend(_clusters(route))
        return used, warm


def _never(route: XdsRoute) -> bool:
    return bool(route.match.HasField("runtime_fraction")) and not route.match.runtime_fraction.default_value.numerator


def _clusters(route: XdsRoute) -> list[str]:
    return [each.name for each in route.route.weighted_clusters.clusters] or [route.route.cluster]


def test_go_is_led_to_a_new_cluster_once_it_knows_it() -> None:
    callers = Callers()
    callers.write(V1, Target(API))
    assert callers.routes() == (["web.default"], ["api.default", "web.default|version=v1"])
    assert not callers.wait(WARM - 0.01)
    assert callers.wait(0.02)
    assert callers.routes() == (["web.default|version=v1", "api.default", "web.default"], [])


def test_go_keeps_what_it_was_led_to_lately() -> None:
    callers = Callers()
    callers.write(V1)
    callers.wait(WARM)
    callers.write(V2)
    assert callers.routes() == (["web.default|version=v1", "web.default"], ["web.default|version=v2"])
    callers.wait(WARM)
    assert callers.routes() == (["web.default|version=v2", "web.default"], ["web.default|version=v1"])
    callers.write(V1)
    assert callers.routes() == (["web.default|version=v1", "web.default"], ["web.default|version=v2"])
    assert callers.wait(LINGER)
    assert callers.routes() == (["web.default|version=v1", "web.default"], [])


def test_what_has_a_share_of_nothing_is_kept_warm() -> None:
    callers = Callers()
    callers.write(V1, V2)
    callers.wait(WARM)
    policy = to(V1, V2)
    policy.routes[0].splits[1].weight = 0
    callers.mesh.service(WEB, routes=policy.routes)
    for node in (GOPHER, Node("n", kind=NODE_JS)):
        assert callers.routes(node) == (["web.default|version=v1", "web.default"], ["web.default|version=v2"])


def test_what_is_gone_is_not_kept_warm() -> None:
    callers = Callers()
    callers.write(Target(API))
    callers.mesh.delete_service(API)
    assert callers.routes() == (["web.default"], [])


def test_what_mirrors_go_to_is_not_kept_warm() -> None:
    callers = Callers()
    callers.mesh.service(WEB, mirror=Mirror(destination=Destination(version="v3"), percent=1))
    callers.wait(WARM)
    assert callers.routes() == (["web.default"], [])


def test_the_others_are_led_there_at_once() -> None:
    callers = Callers()
    callers.write(V1)
    for node in AT_ONCE:
        assert callers.routes(node) == (["web.default|version=v1", "web.default"], [])
    callers.write()
    for node in AT_ONCE:
        if node.kind == NODE_JS:
            continue
        resource = callers.catalog.get(ROUTES, "web.default", node)
        assert callers.routes(node) == (["web.default"], [])
        callers.wait(WARM)
        assert callers.catalog.get(ROUTES, "web.default", node) is resource


def test_node_is_led_there_at_once_and_keeps_what_it_was_led_to_lately() -> None:
    callers, node = Callers(), Node("n", kind=NODE_JS)
    callers.write(V1)
    assert callers.routes(node) == (["web.default|version=v1", "web.default"], [])
    callers.write(V2)
    assert callers.routes(node) == (["web.default|version=v2", "web.default"], ["web.default|version=v1"])
    callers.wait(LINGER)
    assert callers.routes(node) == (["web.default|version=v2", "web.default"], [])


def test_a_service_that_comes_is_called_as_its_policy_says_at_once() -> None:
    callers = Callers()
    callers.mesh.delete_service(WEB)
    callers.write(V1)
    assert callers.routes() == (["web.default|version=v1", "web.default"], [])
