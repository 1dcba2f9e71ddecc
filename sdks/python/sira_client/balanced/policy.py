"""Has the calls of a channel follow the traffic policy of its service, from one state of it to the next at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import grpc
from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_client.balanced import session
from sira_client.balanced.balancer import Balancer
from sira_client.balanced.clusters import Clusters
from sira_client.balanced.hash_key import DEFAULT_HEADER, HeaderKey
from sira_client.balancing.route_table import RouteTable, Splits, is_plain
from sira_client.balancing.target import Target
from sira_client.routing import CallConfig, CallInfo, Route
from sira_client.routing.faults import draw
from sira_client.routing.retries import Retries
from sira_client.settings import Settings


@dataclass(frozen=True, slots=True)
class _State:
    """A policy, made ready. `table` is None where it says nothing of single calls."""

    policy: TrafficPolicy
    table: RouteTable | None


@dataclass(frozen=True, slots=True)
class SessionRouter:
    """Routes the calls of a session to where it is at home."""

    balancer: Balancer
    address: str

    async def route(self, info: CallInfo, tried: Collection[Route]) -> Route | None:
        """See Router."""
        return await self.balancer.route_to(self.address, info, tried)


class PolicySelector:
    """Says of each call what the policy of the service has in mind: see ConfigSelector.

    A policy takes effect as a whole, once the targets that it names are connected, or cannot be: until then calls go by
    the one before.

    Args:
        clusters: where calls may go.
        header: is told which metadata is the key of a call.
        settings: of the client.

    Attributes:
        plain: see ConfigSelector.
    """

    def __init__(self, clusters: Clusters, header: HeaderKey, settings: Settings) -> None:
        self.plain = False
        self._clusters = clusters
        self._header = header
        self._settings = settings
        self._active: _State | None = None
        self._next: _State | None = None
        self._looking = False
        self._change = asyncio.Event()

    def look(self) -> None:
        """Takes in what has changed with the service, or with the targets of its policy."""
        if self._looking:  # what is opened or told on the way looks again
            return
        self._looking = True
        try:
            view = self._clusters.main.backend.view
            if view is not None:
                self._take_in(view.service.traffic_policy, view.service.name)
        finally:
            self._looking = False
        self._wake()

    def close(self) -> None:
        """Looks no more, and wakes who waits for a change."""
        self._looking = True
        self._wake()

    def _wake(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    @property
    def state(self) -> grpc.ChannelConnectivity:
        """READY when a call may find an endpoint; TRANSIENT_FAILURE when it would fail; else CONNECTING."""
        active, main = self._active, self._clusters.main
        if active is None or active.table is None or main.backend.view is None:
            return main.state
        states = {balancer.state for balancer in self._clusters.balancers(active.table.targets)}
        ranked = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.CONNECTING)
        return next((state for state in ranked if state in states), grpc.ChannelConnectivity.TRANSIENT_FAILURE)

    async def changed(self) -> None:
        """Waits for the next change of anything that calls depend on."""
        await self._change.wait()

    async def config(self, info: CallInfo) -> CallConfig | None:
        """See ConfigSelector."""
        main = self._clusters.main
        if main.backend.view is None:
            await main.known(info)
        assert self._active is not None, "it comes with the view"
        table, policy = self._active.table, self._active.policy
        if table is None:
            return None
        rule = table.find(info.method, info.metadata)
        affinity = policy.session_affinity if policy.HasField("session_affinity") else None
        if affinity is not None and not session.applies(affinity, info.method):
            affinity = None
        home = session.find(affinity, info.metadata) if affinity is not None else None
        target = self._target(rule.splits, home)
        balancer = self._clusters.take(target)
        random = self._settings.random
        return CallConfig(
            balancer if home is None else SessionRouter(balancer, home.address),
            partial(self._clusters.give, target),
            self._settings.clock.sleep,
            timeout=rule.timeout,
            fault=None if rule.fault is None else draw(rule.fault, random),
            retries=None if rule.retry is None else Retries.of(rule.retry, random),
            answered=None if affinity is None else partial(_with_cookie, affinity, home, balancer),
        )

    def _target(self, splits: Splits, home: session.Place | None) -> Target:
        """Where a call goes: to the cluster of its session, if that still gets calls."""
        if home is not None and home.cluster:
            for target in splits.targets:
                if target.cluster == home.cluster:
                    return target
        target = splits.draw(self._settings.random)
        if self._clusters.missing(target):  # the others get its calls, and if there are none, the service itself
            left = splits.but([other for other in splits.targets if self._clusters.missing(other)])
            return left.draw(self._settings.random) if left is not None else self._clusters.main.target
        return target

    def _take_in(self, policy: TrafficPolicy, service: str) -> None:
        latest = self._next or self._active
        if latest is None or (policy is not latest.policy and policy != latest.policy):
            table = None if is_plain(policy) else RouteTable(policy, service)
            self._next = _State(policy, table)
            if table is not None:
                self._clusters.want(table.targets)
        if self._next is not None and self._is_ready(self._next):
            self._activate(self._next)

    def _is_ready(self, state: _State) -> bool:
        if self._active is None or state.table is None:
            return True
        balancers = self._clusters.balancers(state.table.targets)
        return all(balancer.state is not grpc.ChannelConnectivity.CONNECTING for balancer in balancers)

    def _activate(self, state: _State) -> None:
        self._active, self._next = state, None
        self.plain = state.table is None
        targets = frozenset() if state.table is None else state.table.targets
        self._clusters.want_only(targets)
        self._header.header = state.policy.hash_header or DEFAULT_HEADER
        sticky = state.policy.HasField("session_affinity")
        for balancer in self._clusters.balancers({*targets, self._clusters.main.target}):
            balancer.keep_sessions(sticky)


def _with_cookie(
    affinity: SessionAffinity,
    home: session.Place | None,
    balancer: Balancer,
    metadata: grpc.aio.Metadata,
    route: Route,
) -> grpc.aio.Metadata:
    """Adds what makes the session be at home where it was served, unless it is."""
    endpoint = balancer.endpoint(route)
    if endpoint is None:
        return metadata
    place = session.Place(session.address_of(endpoint), balancer.target.cluster)
    if place == home:
        return metadata
    return grpc.aio.Metadata(*metadata, (session.SET_COOKIE, session.set_cookie(affinity, place)))
