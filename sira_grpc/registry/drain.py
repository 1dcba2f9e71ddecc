"""Draining: a state that every watcher has been sent before anybody is told that it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from sira.registry.internal.v1.drain_record_pb2 import DrainRecord
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.registry_service_pb2 import DrainOutcome, DrainResponse, EndpointDrain

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits, in_chunks
from sira_grpc.registry import names
from sira_grpc.registry.entries import EndpointEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.load import LoadTable
from sira_grpc.registry.view import RegistryView
from sira_grpc.store.api import MAX_OPS, Delete, Op, Put
from sira_grpc.times import timestamp


class Drainer:
    """The commands that drain endpoints, and take that back."""

    def __init__(self, view: RegistryView, commits: Commits, loads: LoadTable, events: EventLog, clock: Clock) -> None:
        self._view = view
        self._commits = commits
        self._loads = loads
        self._events = events
        self._clock = clock

    async def drain(
        self, targets: Iterable[str], *, locality: Locality | None, patience: float, cause: str, actor: str
    ) -> DrainResponse:
        """Marks endpoints DRAINING and waits, at most `patience` seconds, until nobody sends them anything any more.

        Args:
            targets: names of services, for all their endpoints, and of endpoints.
            locality: only endpoints in it; with an empty zone, in its region. None for all.

        Raises:
            NotFound of whatever is not there. Nothing is marked then.
        """
        chosen = self._choose(targets, locality)
        revision = await self._commits.run(self._mark(chosen, cause, actor))
        services = [self._view.services[s] for s in {names.service_of(n) for n in chosen} if s in self._view.services]
        # The view shows the commits: what a feed has come to includes them.
        barriers = [(service.feed, service.feed.barrier(service.feed.revision)) for service in services]
        outcome = DrainOutcome.DRAIN_OUTCOME_DRAINED
        try:
            async with asyncio.timeout(patience):
                for _, barrier in barriers:
                    await barrier.opened.wait()
                await self._loads.all_idle(chosen)
        except TimeoutError:
            outcome = DrainOutcome.DRAIN_OUTCOME_DEADLINE_EXCEEDED
        finally:
            for feed, barrier in barriers:
                feed.drop(barrier)
        return DrainResponse(
            outcome=outcome,
            revision=revision,
            watchers_notified=sum(barrier.notified for _, barrier in barriers),
            watchers_pending=sum(barrier.pending for _, barrier in barriers),
            endpoints=[self._describe(name) for name in chosen],
        )

    def _choose(self, targets: Iterable[str], locality: Locality | None) -> Sequence[str]:
        chosen: dict[str, None] = {}
        for target in targets:
            if "/endpoints/" in target:
                entries: Iterable[EndpointEntry] = [self._view.endpoint(target)]
            else:
                entries = self._view.service(target).endpoints.values()
            chosen.update((e.message.name, None) for e in entries if locality is None or _in(e, locality))
        return tuple(chosen)

    async def _mark(self, endpoints: Sequence[str], cause: str, actor: str) -> int:
        now = timestamp(self._clock.time_ns())
        groups: list[Sequence[Op]] = []
        marked = []
        for name in endpoints:
            entry = self._view.find_endpoint(name)
            if entry is None or entry.draining:
                continue
            record = DrainRecord(endpoint_create_time=entry.message.create_time, drain_time=now, cause=cause)
            groups.append([Put(names.DRAINS + names.endpoint_path(name), record.SerializeToString())])
            marked.append(name)
        revision = await in_chunks(lambda ops: self._commits.apply(lambda: ops), groups, MAX_OPS)
        for name in marked:
            told = "DRAINING: " + (cause or "asked to drain")
            self._events.record(EventType.EVENT_TYPE_HEALTH_CHANGED, name, told, revision=revision, actor=actor)
        return revision or self._view.revision

    def _describe(self, name: str) -> EndpointDrain:
        load = self._loads.get(name)
        return EndpointDrain(name=name) if load is None else EndpointDrain(name=name, in_flight=load.in_flight)

    async def cancel(self, endpoints: Iterable[str], *, actor: str) -> int:
        """Takes endpoints out of DRAINING, all or none; returns the revision. Those that do not drain are left alone.

        Raises:
            NotFound of whatever is not there.
        """
        wanted = tuple(dict.fromkeys(endpoints))
        draining: list[str] = []

        def plan() -> list[Op]:
            entries = [self._view.endpoint(name) for name in wanted]
            draining[:] = [e.message.name for e in entries if e.draining]
            return [Delete(names.DRAINS + names.endpoint_path(e.message.name)) for e in entries if e.drain_revision]

        revision = await self._commits.run(self._commits.apply(plan))
        for name in draining:
            told = "no longer draining"
            self._events.record(EventType.EVENT_TYPE_HEALTH_CHANGED, name, told, revision=revision, actor=actor)
        return revision


def _in(entry: EndpointEntry, locality: Locality) -> bool:
    own = entry.message.locality
    return own.region == locality.region and locality.zone in ("", own.zone)
