"""Removes leases that have run out, unless so many would go at once that the kernel must suspect itself.

Self-preservation follows Eureka's: when a large share of a service seems to vanish together, a broken network is
likelier than a broken fleet, and removing everybody would turn a small fault into an outage.

Of several members each lets the leases expire that are with it. Where two think so of one lease, or another member has
claimed it meanwhile, compare-and-set on the lease's entry decides, in the first commit that removes anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from sira.registry.v1.event_pb2 import EventType

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.registry import names
from sira_grpc.registry.entries import LeaseEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.lease_keeper import LeaseKeeper
from sira_grpc.registry.leases import RETRY_SECONDS, LeaseTable
from sira_grpc.registry.registrar import Registrar
from sira_grpc.registry.store_pulse import StorePulse
from sira_grpc.registry.view import RegistryView
from sira_grpc.store.api import Delete, Op

SWEEP_SECONDS = 0.2
STOPPED_SECONDS = 1.0
"""A sweep that comes later than this was held up: the process was stopped, or the machine was asleep."""
CHUNK = 250
"""Leases that are removed in one commit, at most."""
ORPHANS = "sweep/registry"
"""The unit of placement of what has lost its owner."""
COUNTED_AT_ONCE = 2000
"""Endpoints that are looked at without a pause, some 5 ms."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SelfPreservation:
    """When expiry pauses.

    share: of a service's endpoints that may expire within the window, above 0 and up to 1; more pause it.
    min_endpoints: services smaller than this are never paused: two of three gone is no sign of anything.
    window: seconds.
    limit: seconds after which expiry goes on regardless.
    """

    share: float
    min_endpoints: int
    window: float
    limit: float


@dataclass(slots=True)
class _Losses:
    """The recent expiries of one service."""

    times: deque[float] = field(default_factory=deque)
    paused_at: float | None = None
    paused_time_ns: int = 0
    judged_at: float = 0.0
    overridden: bool = False  # it was paused up to the limit: not again until enough of them are back

    @property
    def watched(self) -> bool:
        """Whether something is to be ended once enough of them are back."""
        return self.paused_at is not None or self.overridden


class Expiry:
    """The one task that lets leases expire."""

    def __init__(  # noqa: PLR0913, PLR0917 - it ends what all these parts have begun
        self,
        view: RegistryView,
        commits: Commits,
        leases: LeaseTable,
        keeper: LeaseKeeper,
        registrar: Registrar,
        events: EventLog,
        clock: Clock,
        pulse: StorePulse,
        preservation: SelfPreservation,
    ) -> None:
        self._view = view
        self._commits = commits
        self._leases = leases
        self._keeper = keeper
        self._registrar = registrar
        self._events = events
        self._clock = clock
        self._pulse = pulse
        self._rule = preservation
        self._losses: dict[str, _Losses] = {}
        self._sweeping = asyncio.Lock()

    def paused_since(self, service: str) -> int | None:
        """Returns since when, in Unix nanoseconds, the expiry of a service is paused; None if it is not."""
        losses = self._losses.get(service)
        return losses.paused_time_ns if losses is not None and losses.paused_at is not None else None

    def paused(self) -> list[str]:
        """Returns the names of the services whose expiry is paused."""
        return sorted(name for name, losses in tuple(self._losses.items()) if losses.paused_at is not None)

    async def run(self) -> None:
        """Sweeps for ever; cancelled by its owner."""
        loop = asyncio.get_running_loop()
        while True:
            late = loop.time() + SWEEP_SECONDS
            await asyncio.sleep(SWEEP_SECONDS)
            late = loop.time() - late
            if late > STOPPED_SECONDS:  # what clients sent meanwhile is heard only now
                self._pulse.slept(late)
            try:
                await self.sweep()
            except (StoreUnavailable, Conflict):
                log.warning("leases that have run out stay for now: the store cannot write", exc_info=True)

    async def sweep(self) -> None:
        """Removes what has run out and may go, and what has lost its owner."""
        async with self._sweeping:
            await self._sweep()

    async def _sweep(self) -> None:
        self._forget_old()
        if not self._pulse.felt():
            return
        now = self._clock.monotonic()
        for service, losses in list(self._losses.items()):
            if losses.watched and now >= losses.judged_at + RETRY_SECONDS:
                await self._judge(service)
        due = [entry for entry in map(self._entry_of_due, self._leases.due()) if entry is not None]
        for service in {names.service_of(name) for entry in due for name in entry.endpoints}:
            if self.paused_since(service) is None:
                await self._judge(service)
        going = []
        for entry in due:
            if self._may_go(entry):
                going.append(entry)
            else:
                self._keeper.overdue(entry)
        for start in range(0, len(going), CHUNK):
            await self._commits.run(self._expire(going[start : start + CHUNK]))
        if self._view.orphans and self._leases.owns(ORPHANS):
            await self._sweep_orphans()

    def _entry_of_due(self, lease: str) -> LeaseEntry | None:
        entry = self._view.leases.get(lease)
        if entry is None and not self._leases[lease].writers:
            self._leases.forget(lease)  # its commit never came to be
        return entry

    def _may_go(self, entry: LeaseEntry) -> bool:
        return all(self.paused_since(names.service_of(name)) is None for name in entry.endpoints)

    async def _expire(self, entries: Sequence[LeaseEntry]) -> None:
        # Each is looked at again: while others were removed, it may have been renewed.
        going = {entry.id: tuple(entry.endpoints) for entry in entries if self._leases.close_if_due(entry.id)}
        ended: set[str] = set()

        def end() -> list[Op]:
            current = [entry for entry in map(self._view.leases.get, going) if entry is not None]
            due = [entry for entry in current if self._leases.closed_as_due(entry.id)]
            ended.clear()
            ended.update(entry.id for entry in due)
            return [Delete(names.LEASES + entry.id, entry.revision) for entry in due]

        try:
            await self._registrar.remove(
                chain.from_iterable(going.values()),
                "its lease expired",
                kind=EventType.EVENT_TYPE_EXPIRED,
                belongs=lambda endpoint: endpoint.lease in ended,
                first=end,
            )
        finally:
            for lease in going:
                self._leases.reopen(lease)  # if the store could not write it: it comes up again
        now = self._clock.monotonic()
        for name in chain.from_iterable(going[lease] for lease in ended):
            self._losses.setdefault(names.service_of(name), _Losses()).times.append(now)

    async def _sweep_orphans(self) -> None:
        taken: list[tuple[str, int]] = []

        def plan() -> list[Op]:
            taken[:] = islice(self._view.orphans.items(), CHUNK)
            return [Delete(key, revision) for key, revision in taken]

        revision = await self._commits.run(self._commits.apply(plan))
        for key, _ in taken:
            if key.startswith(names.ENDPOINTS):
                name = names.name_of_path(key.removeprefix(names.ENDPOINTS))
                self._events.record(
                    EventType.EVENT_TYPE_EXPIRED, name, "its lease or service is gone", revision=revision
                )

    async def _judge(self, service: str) -> None:
        """Pauses or resumes the expiry of a service by what would go with it."""
        entry = self._view.services.get(service)
        losses = self._losses.setdefault(service, _Losses())
        losses.judged_at = self._clock.monotonic()
        endpoints = list(entry.endpoints.values()) if entry is not None else []
        total = going = len(losses.times)
        for start in range(0, len(endpoints), COUNTED_AT_ONCE):
            part = endpoints[start : start + COUNTED_AT_ONCE]
            total += len(part)
            going += sum(self._leases.at_risk(e.lease, self._rule.window) for e in part)
            await asyncio.sleep(0)  # of many, others have a turn in between
        too_many = total >= self._rule.min_endpoints and going > self._rule.share * total
        told = f"{going} of {total} endpoints would expire within {self._rule.window:g} s"
        losses.overridden = losses.overridden and too_many
        if losses.paused_at is None:
            if too_many and not losses.overridden:
                self._pause(service, losses, told)
        elif not too_many:
            self._resume(service, losses, told)
        elif self._clock.monotonic() - losses.paused_at >= self._rule.limit:
            losses.overridden = True
            self._resume(service, losses, f"paused for {self._rule.limit:g} s, the limit")

    def _pause(self, service: str, losses: _Losses, cause: str) -> None:
        losses.paused_at, losses.paused_time_ns = self._clock.monotonic(), self._clock.time_ns()
        log.warning("expiry of %s is paused: %s", service, cause)
        self._events.record(EventType.EVENT_TYPE_EXPIRY_PAUSED, service, cause)

    def _resume(self, service: str, losses: _Losses, cause: str) -> None:
        losses.paused_at = None
        losses.times.clear()
        self._events.record(EventType.EVENT_TYPE_EXPIRY_RESUMED, service, cause)

    def _forget_old(self) -> None:
        horizon = self._clock.monotonic() - self._rule.window
        for service, losses in list(self._losses.items()):
            while losses.times and losses.times[0] < horizon:
                losses.times.popleft()
            if not losses.times and not losses.watched:
                del self._losses[service]
