"""The load that endpoints report. Kept in memory: it is worth nothing a few seconds later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from sira.registry.v1.load_pb2 import EndpointLoad

from sira_grpc.clock import Clock
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.registrar import Registrar


class LoadTable(Mapping[str, EndpointLoad]):
    """The last report of each endpoint, as long as it counts.

    Args:
        ttl: seconds for which a report counts.
    """

    def __init__(self, clock: Clock, *, ttl: float) -> None:
        self._clock = clock
        self._ttl = ttl
        self._reports: dict[str, tuple[float, EndpointLoad]] = {}
        self._changed = asyncio.Event()

    def put(self, load: EndpointLoad) -> None:
        """Takes a report."""
        self._reports[load.name] = (self._clock.monotonic(), load)
        self._changed.set()

    def __getitem__(self, name: str) -> EndpointLoad:
        at, load = self._reports[name]
        if self._clock.monotonic() - at > self._ttl:
            raise KeyError(name)
        return load

    def __iter__(self) -> Iterator[str]:
        horizon = self._clock.monotonic() - self._ttl
        return (name for name, (at, _) in self._reports.items() if at >= horizon)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def idle_since(self, name: str, since: float) -> bool:
        """Whether an endpoint reports no load, or nothing in flight after a time on the monotonic clock."""
        load = self.get(name)
        return load is None or (load.in_flight == 0 and self._reports[name][0] >= since)

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
