"""Duties: work that one member does for all, which changes hands when that member goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from sira.cluster.internal.v1.member_record_pb2 import DutyRecord

from sira_grpc.clock import Clock
from sira_grpc.cluster import names
from sira_grpc.cluster.placing import LivePlacement
from sira_grpc.cluster.view import ClusterView
from sira_grpc.commits import Commits
from sira_grpc.errors import NotOwner, SiraError
from sira_grpc.store.api import ABSENT, Check, Op, Put

log = logging.getLogger(__name__)


class _Duty:
    """A duty that this member is ready to do."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.lost = asyncio.Event()
        self.vacant_since: float | None = None

    def set(self, *, held: bool) -> None:
        """Notes whether it is this member's, and wakes who waits for that."""
        raised, cleared = (self.held, self.lost) if held else (self.lost, self.held)
        cleared.clear()
        raised.set()


class Duties:
    """Takes duties that nobody has, or that a member has which is not live.

    The member that placement names takes a duty, so that they spread; if it does not, another one does after a while.
    Who has a duty keeps it. Two members may think for a moment that they have the same one: so every commit of such
    work carries the guard, and then only one of them gets anything done. It must bear the Conflict that it then meets.

    Args:
        patience: seconds after which a duty is taken that would be another member's to take.
    """

    def __init__(
        self, view: ClusterView, commits: Commits, placement: LivePlacement, clock: Clock, *, patience: float
    ) -> None:
        self._view = view
        self._commits = commits
        self._placement = placement
        self._clock = clock
        self._patience = patience
        self._duties: dict[str, _Duty] = {}
        self._working: set[asyncio.Future[None]] = set()
        self._news = asyncio.Event()
        self._leaving = False
        view.duty_changed.append(self._changed)
        placement.changed.append(self.wake)

    @property
    def held(self) -> int:
        """How many duties are being done here. May be read from any thread."""
        return len(self._working)

    def holds(self, name: str) -> bool:
        """Whether a duty is this member's, as far as it knows."""
        entry = self._view.duties.get(name)
        return entry is not None and entry.member == self._placement.member and not self._leaving

    def guard(self, name: str) -> Check:
        """Returns the operation that has a commit fail once another member has taken the duty.

        Raises:
            NotOwner: the duty is not this member's.
        """
        entry = self._view.duties.get(name)
        if entry is None or not self.holds(name):
            raise NotOwner(f"the duty {name} is another member's", metadata={"duty": name})
        return Check(names.duty_key(name), entry.revision)

    async def run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Does a work whenever, and for as long as, the duty is this member's; returns when the work does.

        The work is cancelled when the duty is lost, and begun anew when it comes back. An error that the work ends with
        because it was not this member's any more is no error.

        Args:
            name: of the duty, of `[A-Za-z0-9_-]`, at most 64. One run a name.
            work: what is done; goes on for ever by itself.

        Raises:
            ValueError: the duty is being done.
            Exception: what the work has raised.
        """
        if name in self._duties:
            raise ValueError(f"the duty {name} has its work")
        state = self._duties[name] = _Duty()
        self._changed(name)
        try:
            while True:
                await state.held.wait()
                if await self._work(name, state, work):
                    return
        finally:
            del self._duties[name]

    def wake(self) -> None:
        """Has it looked whether there is something to take."""
        self._news.set()

    async def keep(self) -> None:
        """Takes what there is to take, whenever something has changed; cancelled by its owner."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self.tend()
            except SiraError as error:
                log.warning("a duty could not be taken; it is tried again: %s", error)

    async def tend(self) -> None:
        """Takes what there is to take.

        Raises:
            StoreUnavailable: the store takes no writes.
        """
        for duty, state in tuple(self._duties.items()):
            if not self._is_vacant(duty):
                state.vacant_since = None
            elif self._may_take(duty, state):
                await self._commits.run(self._commits.apply(lambda duty=duty: self._taking(duty)))  # type: ignore[misc]

    async def leave(self) -> None:
        """Lets go of every duty, and returns once no work is under way."""
        self._leaving = True
        for state in self._duties.values():
            state.set(held=False)
        while self._working:
            await asyncio.wait(self._working)

    def _is_vacant(self, duty: str) -> bool:
        entry = self._view.duties.get(duty)
        return entry is None or not self._placement.is_live(entry.member)

    def _may_take(self, duty: str, state: _Duty) -> bool:
        placement, now = self._placement, self._clock.monotonic()
        if self._leaving or placement.isolated or placement.member not in placement.live:
            return False
        if state.vacant_since is None:
            state.vacant_since = now
        return placement.owns(f"duty/{duty}") or now - state.vacant_since >= self._patience

    def _taking(self, duty: str) -> Sequence[Op]:
        entry = self._view.duties.get(duty)
        if self._leaving or not self._is_vacant(duty):
            return []
        record = DutyRecord(member=self._placement.member, term=(entry.term if entry is not None else 0) + 1)
        expected = entry.revision if entry is not None else ABSENT
        return [Put(names.duty_key(duty), record.SerializeToString(), expected)]

    def _changed(self, duty: str) -> None:
        state = self._duties.get(duty)
        if state is not None:
            state.set(held=self.holds(duty))
            self.wake()

    async def _work(self, duty: str, state: _Duty, work: Callable[[], Awaitable[None]]) -> bool:
        """Does the work until the duty is lost; returns whether it has ended before."""
        working: asyncio.Future[None] = asyncio.ensure_future(work())
        lost = asyncio.ensure_future(state.lost.wait())
        self._working.add(working)
        log.info("the duty %s is done here", duty)
        try:
            await asyncio.wait((working, lost), return_when=asyncio.FIRST_COMPLETED)
            if working.done() and self.holds(duty):
                working.result()
                return True
        finally:
            working.cancel()
            lost.cancel()
            (error, _) = await asyncio.gather(working, lost, return_exceptions=True)
            self._working.discard(working)
        if isinstance(error, Exception):
            log.warning("the work of the duty %s, which is lost, has failed", duty, exc_info=error)
        return False
