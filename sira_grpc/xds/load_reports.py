"""Load reports of clients (LRS): what callers have under way at each endpoint, added up for the registry.

A client reports all that it has; what it does not name any more, it has not. Its share counts until its next report, or
for two intervals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeVar

from envoy.config.endpoint.v3 import endpoint_pb2
from sira.registry.v1.load_pb2 import EndpointLoad

from sira_grpc.clock import Clock
from sira_grpc.registry.entries import ServiceEntry
from sira_grpc.registry.load import LoadTable
from sira_grpc.registry.view import RegistryView
from sira_grpc.xds import names
from sira_grpc.xds.node import Node
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.source import ResourceSource
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS

INTERVALS = 2
"""For how many intervals a report counts."""
MAX_KEPT = 1024
"""Services, and assignments, of which it is kept how their addresses are found."""
_MAX_COUNT = 2**32 - 1

K = TypeVar("K")
V = TypeVar("V")
Address = tuple[str, int]
Place = tuple[str, str, str]
"""Region, zone and sub-zone."""


class LoadReports:
    """What all clients of this member have under way, by endpoint.

    Args:
        view: the registry.
        loads: where the sums go.
        source: what clients were told of localities.
        clock: the time.
        interval: seconds after which clients report again.
    """

    def __init__(
        self, view: RegistryView, loads: LoadTable, source: ResourceSource, clock: Clock, *, interval: float
    ) -> None:
        self._view = view
        self._loads = loads
        self._source = source
        self._clock = clock
        self.interval = interval
        self.reports = 0
        self._shares: dict[int, tuple[float, Counter[str]]] = {}  # by client, the one that is longest silent first
        self._sums: Counter[str] = Counter()
        self._clients = 0
        self._addresses: dict[int, dict[Address, str]] = {}  # by the generation of the service
        self._alone: dict[str, dict[Place, Address | None]] = {}  # by the version of the assignment

    @property
    def clients(self) -> int:
        """Clients whose reports count."""
        return len(self._shares)

    def open(self) -> int:
        """Returns what tells a client's reports from those of others."""
        self._clients += 1
        return self._clients

    def take(self, client: int, node: Node, clusters: Any) -> None:
        """Takes a report in place of the one before.

        Args:
            client: see `open`.
            node: who it is.
            clusters: its `envoy.config.endpoint.v3.ClusterStats`. Of what is not there any more nothing is taken.
        """
        self.reports += 1
        self._expire()
        share: Counter[str] = Counter()
        for cluster in clusters:
            for endpoint, count in self._counts(node, cluster):
                share[endpoint] += count
        self._replace(client, share)

    def close(self, client: int) -> None:
        """Forgets a client that is gone."""
        self._drop(client)

    def _expire(self) -> None:
        horizon = self._clock.monotonic() - INTERVALS * self.interval
        while self._shares:
            client, (at, _) = next(iter(self._shares.items()))
            if at >= horizon:
                return
            self._drop(client)

    def _drop(self, client: int) -> None:
        _, before = self._shares.pop(client, (0.0, Counter[str]()))
        self._publish(before, Counter())

    def _replace(self, client: int, share: Counter[str]) -> None:
        _, before = self._shares.pop(client, (0.0, Counter[str]()))
        self._shares[client] = (self._clock.monotonic(), share)
        self._publish(before, share)

    def _publish(self, before: Counter[str], after: Counter[str]) -> None:
        for endpoint in before.keys() | after.keys():
            total = self._sums[endpoint] + after[endpoint] - before[endpoint]
            if total:
                self._sums[endpoint] = total
            else:
                del self._sums[endpoint]
            if self._view.find_endpoint(endpoint) is not None:
                load = EndpointLoad(name=endpoint, in_flight=min(total, _MAX_COUNT))
                self._loads.put_observed(load, ttl=INTERVALS * self.interval)

    def _counts(self, node: Node, cluster: Any) -> Iterator[tuple[str, int]]:
        """Yields endpoints with what is under way at each."""
        name = cluster.cluster_service_name or cluster.cluster_name
        target = names.target_named(names.plain(names.plain(name, ENDPOINTS), CLUSTER))
        service = self._view.services.get(target.service) if target is not None else None
        if service is None:
            return
        endpoints = self._by_address(service)
        for locality in cluster.upstream_locality_stats:
            for address, count in self._by_endpoint(node, name, locality):
                endpoint = endpoints.get(address)
                if endpoint is not None:
                    yield endpoint, count

    def _by_endpoint(self, node: Node, cluster: str, stats: Any) -> Iterator[tuple[Address, int]]:
        """Yields what a client has under way, by address. Clients of gRPC tell it of localities only."""
        for each in stats.upstream_endpoint_stats:
            socket = each.address.socket_address
            yield (socket.address, socket.port_value), each.total_requests_in_progress
        if not stats.upstream_endpoint_stats:
            place = stats.locality
            alone = self._alone_in(node, cluster).get((place.region, place.zone, place.sub_zone))
            if alone is not None:
                yield alone, stats.total_requests_in_progress

    def _by_address(self, service: ServiceEntry) -> dict[Address, str]:
        """The endpoints of a service by their addresses."""
        found = self._addresses.get(service.generation)
        if found is None:
            found = {
                (address, entry.message.port): entry.message.name
                for entry in service.endpoints.values()
                for address in entry.message.addresses
            }
            _keep(self._addresses, service.generation, found)
        return found

    def _alone_in(self, node: Node, cluster: str) -> dict[Place, Address | None]:
        """The localities of a cluster, as the client was told, with their endpoints: None where there are several.

        Also those that are gone since: calls to who drains are still under way.
        """
        resource = self._source.get(ENDPOINTS, cluster, node)
        if resource is None:
            return {}
        return {**(self._alone_of(resource.before) if resource.before else {}), **self._alone_of(resource)}

    def _alone_of(self, resource: Resource) -> dict[Place, Address | None]:
        found = self._alone.get(resource.version)
        if found is None:
            found = dict(_alone(resource))
            _keep(self._alone, resource.version, found)
        return found


def _keep(kept: dict[K, V], key: K, value: V) -> None:
    """Keeps what can be made again."""
    if len(kept) >= MAX_KEPT:
        kept.clear()
    kept[key] = value


def _alone(resource: Resource) -> Iterator[tuple[Place, Address | None]]:
    assignment = endpoint_pb2.ClusterLoadAssignment.FromString(resource.body)
    for locality in assignment.endpoints:
        place = locality.locality
        socket = locality.lb_endpoints[0].endpoint.address.socket_address if len(locality.lb_endpoints) == 1 else None
        address = (socket.address, socket.port_value) if socket is not None else None
        yield (place.region, place.zone, place.sub_zone), address
