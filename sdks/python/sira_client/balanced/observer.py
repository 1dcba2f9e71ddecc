"""Watches what becomes of the calls of a cluster, where its policy goes by that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import grpc
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_ORCA_WEIGHTED, TrafficPolicy

from sira_client.balanced.breakers import Breaker
from sira_client.balanced.lane import Lane, told
from sira_client.balanced.load_streams import LoadStreams
from sira_client.balanced.subchannel import SubChannel
from sira_client.balancing.orca import UPDATE_SECONDS, LoadWeights
from sira_client.balancing.orca_report import KEY, LoadReport, decode
from sira_client.balancing.outliers import OutlierDetector, interval_of
from sira_client.settings import Settings

NO_WEIGHTS: Mapping[str, float] = MappingProxyType({})


class Observer:
    """Circuit breaker, outlier detection and reported load of one cluster.

    Args:
        breaker: counts the calls of this client to the cluster.
        settings: of the client.
        changed: called when calls are to be spread anew; must not block.

    Attributes:
        ejected: names of the endpoints that are left out because they fail.
    """

    def __init__(self, breaker: Breaker, settings: Settings, changed: Callable[[], None]) -> None:
        self.ejected: frozenset[str] = frozenset()
        self._breaker = breaker
        self._settings = settings
        self._changed = changed
        self._policy = TrafficPolicy()
        self._active = False
        self._detector: OutlierDetector | None = None
        self._loads: LoadWeights | None = None
        self._streams = LoadStreams(self._loaded)
        self._lanes: dict[str, Lane] = {}
        self._judging: asyncio.Task[None] | None = None
        self._updating: asyncio.Task[None] | None = None

    @property
    def load_weights(self) -> Mapping[str, float]:
        """What the endpoints can take, by what they reported."""
        return NO_WEIGHTS if self._loads is None else self._loads.current(self._settings.clock.time_ns())

    def follow(self, policy: TrafficPolicy, names: Iterable[str]) -> None:
        """Goes by a policy from now on, for the endpoints that there are."""
        there = frozenset(names)
        if policy is not self._policy:
            old, self._policy = self._policy, policy
            self._set_up(old, policy)
        if self._detector is not None:
            self._detector.keep(there)
            self.ejected = self._detector.ejected
        if self._loads is not None:
            self._loads.keep(there)
        if self._lanes:
            self._lanes = {name: lane for name, lane in self._lanes.items() if name in there}

    def admit(self, subchannel: SubChannel) -> Lane | SubChannel:
        """The route that a call takes by way of a connection.

        Raises:
            CircuitOpenError: it takes none: as many as there may be are under way.
        """
        if not self._active:
            return subchannel
        if self._policy.HasField("circuit_breakers"):
            self._breaker.check(self._policy.circuit_breakers)
        return self.lane(subchannel)

    def lane(self, subchannel: SubChannel) -> Lane | SubChannel:
        """The route by way of a connection."""
        if not self._active:
            return subchannel
        lane = self._lanes.get(subchannel.name)
        if lane is None or lane.subchannel is not subchannel:
            lane = self._lanes[subchannel.name] = Lane(subchannel, self._breaker, self._call_ended)
        return lane

    def connected(self, subchannels: Iterable[SubChannel]) -> None:
        """Takes in which connections get calls."""
        self._streams.sync(() if self._loads is None else subchannels)

    def close(self) -> None:
        """Watches no more."""
        self._streams.close()
        for task in (self._judging, self._updating):
            if task is not None:
                task.cancel()

    def _set_up(self, old: TrafficPolicy, policy: TrafficPolicy) -> None:
        by_load = policy.lb_policy == LB_POLICY_ORCA_WEIGHTED
        detects = policy.HasField("outlier_detection")
        self._active = by_load or detects or policy.HasField("circuit_breakers")
        if by_load is not (self._loads is not None):
            self._loads = LoadWeights() if by_load else None
            self._updating = _replaced(self._updating, self._update() if by_load else None)
        if not detects:
            self._detector, self.ejected = None, frozenset()
            self._judging = _replaced(self._judging, None)
        elif self._detector is None or policy.outlier_detection.interval != old.outlier_detection.interval:
            self._detector = self._detector or OutlierDetector()
            self._judging = _replaced(self._judging, self._judge(interval_of(policy.outlier_detection)))

    async def _update(self) -> None:
        while True:
            await self._settings.clock.sleep(UPDATE_SECONDS)
            self._changed()

    async def _judge(self, interval: float) -> None:
        clock = self._settings.clock
        while True:
            await clock.sleep(interval)
            if self._detector is not None and self._detector.judge(self._policy.outlier_detection, clock.time_ns()):
                self.ejected = self._detector.ejected
                self._changed()

    def _call_ended(self, name: str, call: grpc.aio.Call) -> None:
        if self._detector is not None:
            code = told(call.code())
            # One that the caller gave up says nothing of the endpoint.
            if code is not None and not (code is grpc.StatusCode.CANCELLED and call.cancelled()):
                self._detector.count(name, succeeded=code is grpc.StatusCode.OK)
        if self._loads is not None:
            trailing = told(call.trailing_metadata())
            report = trailing.get(KEY) if trailing is not None else None
            load = decode(report) if isinstance(report, bytes) else None
            if load is not None:
                self._loaded(name, load)

    def _loaded(self, name: str, load: LoadReport) -> None:
        if self._loads is not None:
            self._loads.report(name, load, self._settings.clock.time_ns())


def _replaced(task: asyncio.Task[None] | None, work: Coroutine[Any, Any, None] | None) -> asyncio.Task[None] | None:
    """Has a task end, and work begin in its place."""
    if task is not None:
        task.cancel()
    return None if work is None else asyncio.get_running_loop().create_task(work)
