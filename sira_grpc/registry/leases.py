"""Leases as they are held: who holds each one now, and when the others run out. Kept in memory, never per heartbeat.

A lease is with one member: the one that its record names, which last heard of it, or the one that adopts it while that
one is not live. Only the member that a lease is with lets it expire. Two members may both think that it is with them
for a moment, as placement is a hint: whoever ends a lease, or takes it over, does so by compare-and-set on its entry.
"""

from __future__ import annotations

import heapq
from asyncio import Event, get_running_loop
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import inf

from sira.registry.v1.lease_pb2 import LeaseState

from sira_grpc.clock import Clock
from sira_grpc.errors import LeaseNotFound, LeaseNotYours
from sira_grpc.placement import Alone, Placement
from sira_grpc.registry import names
from sira_grpc.registry.entries import LeaseEntry
from sira_grpc.registry.lease_key import LeaseKey
from sira_grpc.registry.lease_time import LeaseTime
from sira_grpc.registry.tenure import Hold, Tenure
from sira_grpc.registry.view import RegistryView
from sira_grpc.times import seconds

RETRY_SECONDS = 1.0
"""After this long a lease that has run out comes up again, should it still be there."""
DUE_AT_ONCE = 5000
"""Leases that are looked at together, at most: it takes some 20 ms."""
STALE_ENTRIES = 1024
"""Entries of leases that are gone, for which the heap is not yet worth being built anew."""

_HELD = LeaseState.LEASE_STATE_HELD
_RENEWED = LeaseState.LEASE_STATE_RENEWED
_SUSPECT = LeaseState.LEASE_STATE_SUSPECT
_RECOVERING = LeaseState.LEASE_STATE_RECOVERING


class LeaseTable:
    """The tenure of every lease in the view.

    Deadlines are kept in a heap that renewals do not touch: a lease that is found to have been renewed when its old
    deadline comes up goes back with its new one. So a renewal is a look-up, a hash and an assignment. Only where time
    was lost may a new deadline be before the old one; the lease has a second entry then, and the old one is void.

    Args:
        placement: which members are live, and which adopts the lease of one that is not.

    Attributes:
        moved: called with a lease that has come here, or gone to another member. On the event loop; must not block.
    """

    def __init__(self, view: RegistryView, clock: Clock, placement: Placement | None = None) -> None:
        self._view = view
        self._placement = placement or Alone()
        self._time = LeaseTime(clock)
        self.moved: list[Callable[[LeaseEntry], None]] = []
        self._tenures: dict[str, Tenure] = {}
        self._heap: list[tuple[float, str]] = []

    def __getitem__(self, lease: str) -> Tenure:
        return self._tenures[lease]

    @property
    def member(self) -> str:
        """Id of this member."""
        return self._placement.member

    def owns(self, unit: str) -> bool:
        """Whether a unit of work belongs to this member."""
        return self._placement.owns(unit)

    def count_here(self) -> int:
        """Counts the leases that are with this member."""
        return sum(not tenure.elsewhere for tenure in self._tenures.values())

    def is_named(self, entry: LeaseEntry) -> bool:
        """Whether the record of a lease names this member."""
        return entry.record.member == self._placement.member

    def is_live(self, entry: LeaseEntry) -> bool:
        """Whether the member that the record of a lease names is live."""
        return self._placement.is_live(entry.record.member)

    def has(self, lease: str) -> bool:
        """Whether this member has a lease and lets it expire: is_here(), once it has been settled."""
        tenure = self._tenures.get(lease)
        return tenure is not None and not tenure.elsewhere

    def is_here(self, entry: LeaseEntry) -> bool:
        """Whether a lease is with this member: its record says so, or the member that it names is not live."""
        return self.is_named(entry) or (not self.is_live(entry) and self._placement.owns(f"lease/{entry.id}"))

    def recover(self) -> None:
        """Begins the tenure of every lease of the view. Those that are here have one TTL to come back."""
        for entry in self._view.leases.values():
            self.settle(entry)

    def created(self, lease: str, ttl: float) -> Tenure:
        """Begins the tenure of a new lease, which unary calls renew until a stream attaches."""
        tenure = self._tenures[lease] = Tenure(ttl, _SUSPECT, 0.0, self._placement.member)
        self._restart(lease, tenure, _RENEWED)
        return tenure

    def settle(self, entry: LeaseEntry) -> None:
        """Brings a tenure in line with the record of its lease, and with which members are live.

        A lease that comes here has a whole TTL, however often it comes: that a dead one stays longer does less harm
        than that a live one goes. The stream that holds one which goes, or which another member took over, is told.
        """
        here = self.is_here(entry)
        tenure = self._tenures.get(entry.id)
        if tenure is None:
            ttl = seconds(entry.record.ttl)
            tenure = self._tenures[entry.id] = Tenure(ttl, _SUSPECT, 0.0, entry.record.member, elsewhere=not here)
            if here:
                self._restart(entry.id, tenure, _SUSPECT if entry.suspect else _RECOVERING)
            return
        was_here, taken = not tenure.elsewhere, entry.record.member != tenure.member
        tenure.member = entry.record.member
        tenure.elsewhere = not here
        if was_here == here and not taken:
            return
        if self.is_named(entry):  # it was claimed for this member
            if tenure.hold is None:
                self._restart(entry.id, tenure, _RENEWED)
        else:
            tenure.end_hold(moved=True)
            tenure.heard = False
            if here:
                self._restart(entry.id, tenure, _SUSPECT if entry.suspect else _RECOVERING)
        if was_here != here:
            for hook in self.moved:
                hook(entry)

    def _restart(self, lease: str, tenure: Tenure, state: LeaseState.ValueType) -> None:
        tenure.state, tenure.deadline = state, self._time.now() + tenure.ttl
        self._queue(lease, tenure, tenure.deadline)

    def _queue(self, lease: str, tenure: Tenure, at: float) -> None:
        if at < tenure.queued_at:
            tenure.queued_at = at
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
        if tenure is None or tenure.closing or tenure.writers or not self._has_run_out(tenure):
            return False
        tenure.closing = True
        return True

    def closed_as_due(self, lease: str) -> bool:
        """Whether a lease that close_if_due() closed is to be removed still: another member may have claimed it."""
        tenure = self._tenures.get(lease)
        return tenure is not None and tenure.closing and self._has_run_out(tenure)

    def _has_run_out(self, tenure: Tenure) -> bool:
        return not tenure.elsewhere and tenure.state != _HELD and tenure.deadline <= self._time.now()

    def reopen(self, lease: str) -> None:
        """Lets a lease be used again, if it is still there."""
        if lease in self._view.leases:
            self._tenures[lease].closing = False

    def holds(self, lease: str) -> bool:
        """Whether a lease is there and not suspect, as far as this member knows: it may be ahead of the view."""
        return lease in self._tenures and not self.is_suspect(lease)

    def is_suspect(self, lease: str) -> bool:
        """Whether a lease is suspect: one that is here as it is held, another as the view has it."""
        tenure = self._tenures[lease]
        return self._view.leases[lease].suspect if tenure.elsewhere else tenure.state == _SUSPECT

    def attach(self, lease: str) -> Hold:
        """Binds a lease that is here to a stream; an older stream's hold ends."""
        tenure = self._tenures[lease]
        tenure.end_hold()
        tenure.hold = Hold(lease, get_running_loop().create_future())
        tenure.state, tenure.heard = _HELD, True
        return tenure.hold

    def lost(self, hold: Hold) -> bool:
        """Notes that a stream was lost: the TTL runs. False if the stream did not hold its lease any more."""
        tenure = self._tenures.get(hold.lease)
        if tenure is None or tenure.hold is not hold:
            return False
        tenure.hold = None
        self._restart(hold.lease, tenure, _SUSPECT)
        return True

    def suspect(self, lease: str) -> bool:
        """Makes a lease suspect that is here and that no stream holds. False if it is already."""
        tenure = self._tenures[lease]
        if tenure.elsewhere or tenure.state == _SUSPECT:
            return False
        tenure.state = _SUSPECT
        return True

    def renew(self, lease: str) -> bool:
        """Puts off the deadline of a lease that is here. True if it was suspect until now."""
        tenure = self._tenures[lease]
        if tenure.elsewhere or tenure.state == _HELD:
            return False
        was_suspect = tenure.state == _SUSPECT
        tenure.state, tenure.heard = _RENEWED, True
        tenure.deadline = self._time.now() + tenure.ttl
        self._queue(lease, tenure, tenure.deadline)
        return was_suspect

    def lose(self, seconds: float) -> None:
        """Has the last so many seconds not count: every deadline is put off by them."""
        self._time.lose(seconds)

    def forget(self, lease: str) -> None:
        """Ends the tenure of a lease that is gone from the view."""
        tenure = self._tenures.pop(lease, None)
        if tenure is not None:
            tenure.end_hold()
        if len(self._heap) > 2 * len(self._tenures) + STALE_ENTRIES:
            self._heap = [(at, lease) for at, lease in self._heap if self._is_queued(lease, at)]
            heapq.heapify(self._heap)

    def _is_queued(self, lease: str, at: float) -> bool:
        tenure = self._tenures.get(lease)
        return tenure is not None and tenure.queued_at == at

    def due(self) -> list[str]:
        """Returns leases that have run out. Each comes up again after a second, until it is gone or renewed.

        Of very many that run out together some come up the next time.
        """
        now = self._time.now()
        found: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(found) < DUE_AT_ONCE:
            at, lease = heapq.heappop(self._heap)
            tenure = self._tenures.get(lease)
            if tenure is None or tenure.queued_at != at:  # void
                continue
            tenure.queued_at = inf
            if tenure.elsewhere or tenure.state == _HELD:
                continue
            if tenure.deadline > now:
                self._queue(lease, tenure, tenure.deadline)
            else:
                found.append(lease)
                self._queue(lease, tenure, now + RETRY_SECONDS)
        return found

    def left(self, entry: LeaseEntry) -> float | None:
        """Returns the seconds after which a lease expires; None while a stream holds it, or where only others know."""
        tenure = self._tenures[entry.id]
        if tenure.elsewhere or tenure.state == _HELD:
            return None
        return max(0.0, tenure.deadline - self._time.now())

    def at_risk(self, lease: str, window: float) -> bool:
        """Whether a lease will run out within a window in seconds unless something is heard.

        A lease that unary calls renew counts once two thirds of its TTL are over: its holder, which should renew three
        times a TTL, has missed a renewal. One that another member has counts while it is suspect, or that member is
        not live: were those well, every member would see no more than its own share of a service vanish.
        """
        tenure = self._tenures.get(lease)
        if tenure is None:
            return True
        if tenure.elsewhere:
            entry = self._view.leases[lease]
            return entry.suspect or not self.is_live(entry)
        if tenure.state == _HELD:
            return False
        left = tenure.deadline - self._time.now()
        if tenure.state == _SUSPECT:
            return left <= window
        return left <= min(window, tenure.ttl / 3)


def _gone(lease: str) -> LeaseNotFound:
    return LeaseNotFound("lease_key: the lease expired, was revoked, or never was", metadata={"lease": lease[:64]})
