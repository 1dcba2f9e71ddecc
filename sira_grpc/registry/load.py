"""The load that endpoints report. Kept in memory: it is worth nothing a few seconds later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sira.registry.v1.load_pb2 import EndpointLoad

from sira_grpc.clock import Clock
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.load_follower import LoadFollower
from sira_grpc.registry.registrar import Registrar

FOLLOW_SECONDS = 0.1
"""How long members gather loads for each other."""


@dataclass(frozen=True, slots=True)
class _Report:
    at: float  # when it was made, at the latest, on the monotonic clock
    load: EndpointLoad
    own: bool  # reported to this member
    until: float  # counts to this time
    observed: bool = False  # by the endpoint's callers, not by itself


class LoadTable(Mapping[str, EndpointLoad]):
    """The last report of each endpoint, as long as it counts.

    Args:
        ttl: seconds for which a report counts.
    """

    def __init__(self, clock: Clock, *, ttl: float) -> None:
        self._clock = clock
        self._ttl = ttl
        self._reports: dict[str, _Report] = {}
        self._changed = asyncio.Event()
        self._followers: set[LoadFollower] = set()

    def put(self, load: EndpointLoad) -> None:
        """Takes a report."""
        now = self._clock.monotonic()
        self._reports[load.name] = _Report(now, load, own=True, until=now + self._ttl)
        self._changed.set()
        for follower in self._followers:
            follower.note(load.name)

    def put_remote(self, loads: Iterable[EndpointLoad]) -> None:
        """Takes reports that were made to another member, which gathered them: what was reported here since stays."""
        at = self._clock.monotonic() - FOLLOW_SECONDS
        for load in loads:
            known = self._reports.get(load.name)
            if known is None or known.at <= at or not known.own:
                self._reports[load.name] = _Report(at, load, own=False, until=at + self._ttl)
        self._changed.set()

    def put_observed(self, load: EndpointLoad, *, ttl: float) -> None:
        """Takes what the callers of an endpoint that are connected to this member have seen of it.

        What the endpoint reports itself counts before it, as long as it does. Says nothing to who waits for the
        endpoint to be idle: callers report seldom, and not all of them.

        Args:
            load: of the endpoint.
            ttl: seconds for which it counts.
        """
        now = self._clock.monotonic()
        known = self._reports.get(load.name)
        if known is None or known.observed or known.until < now:
            self._reports[load.name] = _Report(now, load, own=False, until=now + ttl, observed=True)

    async def follow(self) -> AsyncGenerator[list[EndpointLoad], None]:
        """Yields the loads reported to this member: all at first, then what changes, 1,000 at once and at most every
        100 ms. A slow reader gets the latest of each endpoint. Of endpoints that are gone, and reports that do not
        count any more, nothing is told. To be closed with aclose()."""
        follower = LoadFollower(name for name in self if self._reports[name].own)
        self._followers.add(follower)
        try:
            while True:
                loads = [load for name in await follower.batch() if (load := self._own(name)) is not None]
                if loads:
                    yield loads
                if not follower.more:
                    await asyncio.sleep(FOLLOW_SECONDS)
        finally:
            self._followers.discard(follower)

    def _own(self, name: str) -> EndpointLoad | None:
        load = self.get(name)
        return load if load is not None and self._reports[name].own else None

    def __getitem__(self, name: str) -> EndpointLoad:
        report = self._reports[name]
        if report.until < self._clock.monotonic():
            raise KeyError(name)
        return report.load

    def __iter__(self) -> Iterator[str]:
        now = self._clock.monotonic()
        return (name for name, report in self._reports.items() if report.until >= now)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def idle_since(self, name: str, since: float) -> bool:
        """Whether an endpoint reports no load, or nothing in flight after a time on the monotonic clock."""
        load = self.get(name)
        if load is None or self._reports[name].observed:
            return True
        return load.in_flight == 0 and self._reports[name].at >= since

    async def all_idle(self, endpoints: Iterable[str]) -> None:
        """Returns once each endpoint has reported, from now on, that nothing is in flight, or reports no longer."""
        since = self._clock.monotonic()
        busy = list(endpoints)
        while busy := [name for name in busy if not self.idle_since(name, since)]:
            self._changed.clear()
            try:
                # Reports may also just stop: look again when the last ones have lost their worth.
                await asyncio.wait_for(self._changed.wait(), self._ttl)
            except TimeoutError:
                continue

    def forget(self, name: str) -> None:
        """Forgets an endpoint that is gone."""
        self._reports.pop(name, None)
        self._changed.set()


class LoadReporter:
    """One ReportLoad stream: reports for endpoints under one lease."""

    def __init__(self, leases: LeaseTable, registrar: Registrar, table: LoadTable, *, lease_key: str) -> None:
        self._lease = leases.open(lease_key).id
        self._registrar = registrar
        self._table = table
        self.accepted = 0

    def report(self, loads: Iterable[EndpointLoad]) -> None:
        """Takes reports: all or none.

        Raises:
            LeaseNotYours, EndpointNotFound and the like.
        """
        taken = list(loads)
        for load in taken:
            self._registrar.check_under(load.name, self._lease)
        for load in taken:
            self._table.put(load)
        self.accepted += len(taken)
