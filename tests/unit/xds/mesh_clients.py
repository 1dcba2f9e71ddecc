"""How clients of gRPC and Envoys go from one type of resource to the next, and what must not break for them."""

from __future__ import annotations

from collections.abc import Set

from sira_grpc.xds.names import EGRESS
from sira_grpc.xds.node import GO
from sira_grpc.xds.subscription import WILDCARD
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from sira_grpc.xds.warming import LONGEST
from tests.unit.xds.mesh_client import MeshClient, News
from tests.unit.xds.mesh_resources import called_by, clusters_of, routes_of


class GrpcClient(MeshClient):
    """Dials services: each has a listener, which refers to routes, and those to clusters.

    Attributes:
        dialed: names of the listeners of those services.
    """

    def dial(self, names: Set[str]) -> None:
        """Dials services, and is done with others."""
        self.dialed = names
        self.begin()

    def begin(self) -> None:
        self.want(LISTENER, self.dialed)
        self.follow()

    def follow(self) -> None:
        self.want(ROUTES, {routes_of(body) for body in self.held[LISTENER].values()})
        self.want(CLUSTER, {name for body in self.held[ROUTES].values() for name in clusters_of(body)})
        self.want(ENDPOINTS, set(self.held[CLUSTER]))

    def judge(self, news: News) -> None:
        routes = self.held[ROUTES]
        if news.type_url == CLUSTER:
            lost = {name for name in news.lost if self.heard(CLUSTER, name, news.delivery)}
            for name in sorted(routes):
                broken = lost & called_by(routes[name])
                assert not broken, f"{self}: {sorted(broken)} are gone, routes {name} lead there"
        if news.type_url == ROUTES and self.kind == GO and self._habits.steps:
            # One that waits for clusters of the routes before makes no calls yet.
            known = {name for name, body in news.before.items() if called_by(body) <= self.held[CLUSTER].keys()}
            for name in sorted(news.came & known):
                cold = called_by(routes[name]) - self.held[CLUSTER].keys()
                assert not cold, f"{self}: routes {name} lead to {sorted(cold)}, which it does not know"


class EnvoyClient(MeshClient):
    """A sidecar: it takes all clusters and listeners that there are, and warms the clusters before it uses them.

    Attributes:
        warm: names of the clusters of which it has had endpoints since they were sent last.
    """

    def begin(self) -> None:
        self.node["metadata"].update({"sira": {"egress_port": 9000}})
        self.warm: set[str] = set()
        self._warming_since: float | None = None
        self.want(CLUSTER, {WILDCARD})
        self.want(LISTENER, {WILDCARD})

    def follow(self) -> None:
        self.want(ENDPOINTS, set(self.held[CLUSTER]))
        if EGRESS in self.held[LISTENER]:
            self.want(ROUTES, {EGRESS})

    def judge(self, news: News) -> None:
        clusters = self.held[CLUSTER].keys()
        if news.type_url == CLUSTER:
            self.warm -= news.came | news.lost
            if news.came and self._warming_since is None:
                self._warming_since = news.delivery.made
        if news.type_url == ENDPOINTS:
            self.warm |= news.sent
        self._judge_routes(news)
        underway = any(delivery.response.type_url in (CLUSTER, ENDPOINTS) for delivery in self.inbox)
        if clusters <= self.warm and not underway:
            self._warming_since = None

    def _judge_routes(self, news: News) -> None:
        called = frozenset[str]().union(*map(called_by, self.held[ROUTES].values()))
        missing = called - self.held[CLUSTER].keys()
        assert not missing, f"{self}: routes lead to {sorted(missing)}, which it was not sent or has lost"
        overdue = self._warming_since is not None and news.delivery.made >= self._warming_since + LONGEST
        if news.type_url == ROUTES and not overdue:
            cold = called - self.warm
            assert not cold, f"{self}: routes lead to {sorted(cold)}, of which it has no endpoints"
