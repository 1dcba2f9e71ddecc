"""Leases as they are held: who holds each one now, and when the others run out. Kept in memory, never per heartbeat."""

from __future__ import annotations

import heapq
from asyncio import Event, Future, get_running_loop
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from sira.registry.v1.lease_pb2 import LeaseState

from sira_grpc.clock import Clock
from sira_grpc.errors import LeaseNotFound, LeaseNotYours
from sira_grpc.registry import names
from sira_grpc.registry.entries import LeaseEntry
from sira_grpc.registry.lease_key import LeaseKey
from sira_grpc.registry.view import RegistryView
from sira_grpc.times import seconds

RETRY_SECONDS = 1.0
"""After this long a lease that has run out comes up again, should it still be there."""
DUE_AT_ONCE = 5000
"""Leases that are looked at together, at most: it takes some 20 ms."""
STALE_ENTRIES = 1024
"""Entries of leases that are gone, for which the heap is not yet worth being built anew."""


@dataclass(slots=True, eq=False)
class Hold:
    """A stream that holds a lease."""

    lease: str
    ended: Future[None]  # done when another stream took over, or the lease is gone


@dataclass(slots=True, eq=False)
class Tenure:
    """How one lease is held."""

    ttl: float  # seconds
    state: LeaseState.ValueType
    deadline: float  # on the monotonic clock; of no meaning while HELD
    hold: Hold | None = None
    writers: int = 0  # registrations under way
    written: Event | None = None  # set by the last of them, for whoever waits to remove the lease
    closing: bool = False  # it is being removed: nobody may use it any more
    queued: bool = False  # it has its place in the heap: one at most, however often its stream is lost


class LeaseTable:
    """The tenure of every lease in the view.

    Deadlines are kept in a heap that renewals do not touch: a lease that is found to have been renewed when its old
    deadline comes up goes back with its new one. So a renewal is a look-up, a hash and an assignment.
    """

    def __init__(self, view: RegistryView, clock: Clock) -> None:
        self._view = view
        self._clock = clock
        self._tenures: dict[str, Tenure] = {}
        self._heap: list[tuple[float, str]] = []

    def __getitem__(self, lease: str) -> Tenure:
        return self._tenures[lease]

    def recover(self) -> None:
        """Gives every lease of the view, which was held before a restart, one TTL to come back."""
        now = self._clock.monotonic()
        for lease, entry in self._view.leases.items():
            state = LeaseState.LEASE_STATE_SUSPECT if entry.suspect else LeaseState.LEASE_STATE_RECOVERING
            self._begin(lease, seconds(entry.record.ttl), state, now)

    def created(self, lease: str, ttl: float) -> Tenure:
        """Begins the tenure of a new lease, which unary calls renew until a stream attaches."""
        return self._begin(lease, ttl, LeaseState.LEASE_STATE_RENEWED, self._clock.monotonic())

    def _begin(self, lease: str, ttl: float, state: LeaseState.ValueType, now: float) -> Tenure:
        tenure = self._tenures[lease] = Tenure(ttl, state, now + ttl)
        self._queue(lease, tenure, tenure.deadline)
        return tenure

    def _queue(self, lease: str, tenure: Tenure, at: float) -> None:
        if not tenure.queued:
            tenure.queued = True
            heapq.heappush(self._heap, (at, lease))

    def open(self, key_text: str) -> LeaseEntry:
        """Returns the lease that a key opens.

        Raises:
            LeaseNotFound: it is gone, or on its way out, or never was.
            LeaseNotYours: the secret is wrong.
        """
        key = LeaseKey.parse(key_text)
        entry = self._view.leases.get(key.id)
        tenure = self._tenures.get(key.id)
        if entry is None or tenure is None or tenure.closing:
            raise _gone(key.id)
        if not key.opens(entry.record.secret_sha256):
            raise LeaseNotYours("lease_key: the secret is wrong", metadata={"lease": names.lease_name(key.id)})
        return entry

    @contextmanager
    def writing(self, lease: str) -> Iterator[None]:
        """Keeps a lease from being removed while the block registers something under it.

        Raises:
            LeaseNotFound: it is gone, or on its way out.
        """
        tenure = self._tenures.get(lease)
        if tenure is None or tenure.closing:
            raise _gone(lease)
        tenure.writers += 1
        try:
            yield
        finally:
            tenure.writers -= 1
            if not tenure.writers and tenure.written is not None:
                tenure.written.set()

    @asynccontextmanager
    async def removing(self, lease: str) -> AsyncIterator[None]:
        """Lets the block remove a lease that nobody uses any more. What it does not remove may be used again.

        Raises:
            LeaseNotFound: it is gone, or on its way out.
        """
        tenure = self._tenures.get(lease)
        if tenure is None or tenure.closing:
            raise _gone(lease)
        tenure.closing = True
        try:
            if tenure.writers:
                tenure.written = Event()
                await tenure.written.wait()  # none can come after them
            yield
        finally:
            self.reopen(lease)

    def close_if_due(self, lease: str) -> bool:
        """Has a lease that has run out used by nobody any more. False if it has come to life again, or is in use."""
        tenure = self._tenures.get(lease)
        if tenure is None or tenure.closing or tenure.writers or tenure.state == LeaseState.LEASE_STATE_HELD:
            return False
        tenure.closing = tenure.deadline <= self._clock.monotonic()
        return tenure.closing

    def reopen(self, lease: str) -> None:
        """Lets a lease be used again, if it is still there."""
        if lease in self._view.leases:
            self._tenures[lease].closing = False

    def holds(self, lease: str) -> bool:
        """Whether a lease is there and not suspect, as far as this member knows: it may be ahead of the view."""
        tenure = self._tenures.get(lease)
        return tenure is not None and tenure.state != LeaseState.LEASE_STATE_SUSPECT

    def attach(self, lease: str) -> tuple[Hold, bool]:
        """Binds a lease to a stream; an older stream's hold ends. Also returns whether it was suspect until now."""
        tenure = self._tenures[lease]
        was_suspect = tenure.state == LeaseState.LEASE_STATE_SUSPECT
        self._end_hold(tenure)
        tenure.hold = Hold(lease, get_running_loop().create_future())
        tenure.state = LeaseState.LEASE_STATE_HELD
        return tenure.hold, was_suspect

    def lost(self, hold: Hold) -> bool:
        """Notes that a stream was lost: the TTL runs. False if the stream did not hold its lease any more."""
        tenure = self._tenures.get(hold.lease)
        if tenure is None or tenure.hold is not hold:
            return False
        tenure.hold = None
        tenure.state = LeaseState.LEASE_STATE_SUSPECT
        tenure.deadline = self._clock.monotonic() + tenure.ttl
        self._queue(hold.lease, tenure, tenure.deadline)
        return True

    def suspect(self, lease: str) -> bool:
        """Makes a lease suspect that no stream holds. False if it is already."""
        tenure = self._tenures[lease]
        if tenure.state == LeaseState.LEASE_STATE_SUSPECT:
            return False
        tenure.state = LeaseState.LEASE_STATE_SUSPECT
        return True

    def renew(self, lease: str) -> bool:
        """Puts off the deadline of a lease. True if it was suspect until now."""
        tenure = self._tenures[lease]
        if tenure.state == LeaseState.LEASE_STATE_HELD:
            return False
        was_suspect = tenure.state == LeaseState.LEASE_STATE_SUSPECT
        tenure.state = LeaseState.LEASE_STATE_RENEWED
        tenure.deadline = self._clock.monotonic() + tenure.ttl
        return was_suspect

    def forget(self, lease: str) -> None:
        """Ends the tenure of a lease that is gone from the view."""
        tenure = self._tenures.pop(lease, None)
        if tenure is not None:
            self._end_hold(tenure)
        if len(self._heap) > 2 * len(self._tenures) + STALE_ENTRIES:
            self._heap = [item for item in self._heap if item[1] in self._tenures]
            heapq.heapify(self._heap)

    @staticmethod
    def _end_hold(tenure: Tenure) -> None:
        if tenure.hold is not None and not tenure.hold.ended.done():
            tenure.hold.ended.set_result(None)
        tenure.hold = None

    def due(self) -> list[str]:
        """Returns leases that have run out. Each comes up again after a second, until it is gone or renewed.

        Of very many that run out together some come up the next time.
        """
        now = self._clock.monotonic()
        found: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(found) < DUE_AT_ONCE:
            _, lease = heapq.heappop(self._heap)
            tenure = self._tenures.get(lease)
            if tenure is None:
                continue
            tenure.queued = False
            if tenure.state == LeaseState.LEASE_STATE_HELD:
                continue
            if tenure.deadline > now:
                self._queue(lease, tenure, tenure.deadline)
            else:
                found.append(lease)
                self._queue(lease, tenure, now + RETRY_SECONDS)
        return found

    def at_risk(self, lease: str, window: float) -> bool:
        """Whether a lease will run out within a window in seconds unless something is heard.

        A lease that unary calls renew counts once two thirds of its TTL are over: its holder, which should renew three
        times a TTL, has missed a renewal.
        """
        tenure = self._tenures.get(lease)
        if tenure is None:
            return True
        if tenure.state == LeaseState.LEASE_STATE_HELD:
            return False
        left = tenure.deadline - self._clock.monotonic()
        if tenure.state == LeaseState.LEASE_STATE_SUSPECT:
            return left <= window
        return left <= min(window, tenure.ttl / 3)


def _gone(lease: str) -> LeaseNotFound:
    return LeaseNotFound("lease_key: the lease expired, was revoked, or never was", metadata={"lease": lease[:64]})
