"""Draining: a state that every watcher has been sent before anybody is told that it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from sira.registry.internal.v1.drain_record_pb2 import DrainRecord
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.registry_service_pb2 import DrainOutcome, DrainResponse, EndpointDrain

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits, in_chunks
from sira_grpc.registry import names
from sira_grpc.registry.entries import EndpointEntry, ServiceEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.load import LoadTable
from sira_grpc.registry.peers import NoPeers, Peers
from sira_grpc.registry.view import RegistryView
from sira_grpc.store.api import MAX_OPS, Delete, Op, Put
from sira_grpc.times import timestamp


class Drainer:
    """The commands that drain endpoints, and take that back."""

    def __init__(
        self,
        view: RegistryView,
        commits: Commits,
        loads: LoadTable,
        events: EventLog,
        clock: Clock,
        peers: Peers | None = None,
    ) -> None:
        self._peers = peers or NoPeers()
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
        wanted = tuple(targets)
        chosen = await self._commits.sure(lambda: self._choose(wanted, locality))
        revision = await self._commits.run(self._mark(chosen, cause, actor))
        deadline = asyncio.get_running_loop().time() + patience
        elsewhere = asyncio.ensure_future(self._peers.await_drain(chosen, revision, patience))
        try:
            told = (await self.await_local(chosen, revision, patience), await elsewhere)
        finally:
            elsewhere.cancel()
        notified, pending = (sum(counts) for counts in zip(*told, strict=True))
        outcome = DrainOutcome.DRAIN_OUTCOME_DEADLINE_EXCEEDED
        if not pending:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._loads.all_idle(chosen)
                outcome = DrainOutcome.DRAIN_OUTCOME_DRAINED
        return DrainResponse(
            outcome=outcome,
            revision=revision,
            watchers_notified=notified,
            watchers_pending=pending,
            endpoints=[self._describe(name) for name in chosen],
        )

    async def await_local(self, endpoints: Sequence[str], revision: int, patience: float) -> tuple[int, int]:
        """Waits, at most `patience` seconds, until this member's watchers were told what a revision says of endpoints.

        Returns how many of them were told, and how many were not in that time.

        Raises:
            KernelStopping: the view was closed before it had come to the revision.
        """
        deadline = asyncio.get_running_loop().time() + patience
        try:
            async with asyncio.timeout_at(deadline):
                await self._view.caught_up(revision)
        except TimeoutError:
            return 0, sum(service.feed.subscribers for service in self._services(endpoints))
        # The view shows the commits: what a feed has come to includes them.
        barriers = [(s.feed, s.feed.barrier(s.feed.revision)) for s in self._services(endpoints)]
        try:
            with suppress(TimeoutError):  # the answer says who is pending
                async with asyncio.timeout_at(deadline):
                    for _, barrier in barriers:
                        await barrier.opened.wait()
        finally:
            for feed, barrier in barriers:
                feed.drop(barrier)
        return sum(b.notified for _, b in barriers), sum(b.pending for _, b in barriers)

    def _services(self, endpoints: Iterable[str]) -> list[ServiceEntry]:
        services = {names.service_of(name) for name in endpoints}
        return [self._view.services[name] for name in services if name in self._view.services]

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
