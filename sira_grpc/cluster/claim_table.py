"""The claims that this member looks after: which stream each one has, and when it runs out. In memory only."""

from __future__ import annotations

import heapq
from asyncio import Future, get_running_loop
from dataclasses import dataclass

from sira.cluster.internal.v1.lock_record_pb2 import LockClaim

from sira_grpc.cluster import lock_names
from sira_grpc.cluster.claim_contact import FRESH_SECONDS
from sira_grpc.cluster.claim_time import ClaimTime
from sira_grpc.cluster.lock_view import LockView
from sira_grpc.placement import Placement
from sira_grpc.times import seconds

RETRY_SECONDS = 1.0
"""After this long a claim that has run out comes up again, should it still be there."""
STALE_ENTRIES = 1024
"""Entries of claims that are gone, for which the heap is not yet worth being built anew."""


@dataclass(slots=True, eq=False)
class Hold:
    """A stream, or a call, that has a claim.

    Attributes:
        claim: its id.
        keeps: the claim does not run out meanwhile. Otherwise it has to be renewed.
        ended: done when another one took over, or the claim is gone or elsewhere.
    """

    claim: str
    keeps: bool
    ended: Future[None]


@dataclass(slots=True, eq=False)
class Tenure:
    """How one claim is looked after."""

    lock: str
    member: str  # that the claim is at: this one, or one that is gone
    ttl: float  # seconds
    deadline: float  # in the time of claims; of no meaning while there is a hold that keeps it
    hold: Hold | None = None
    closing: bool = False  # it is being removed, as it has run out
    queued: bool = False  # it has its place in the heap: one at most


class ClaimTable:
    """The tenure of each claim that is at this member, or at one that is gone and whose claims fall to this one.

    A tenure begins with one TTL when the view shows the claim at this member. A claim of a member that is gone is an
    orphan first: it is to be moved here, in the store, before its TTL begins, and it can expire. For a member may be
    taken for dead that is not: it sees by the move that it must not tell the holder `alive` any more.

    Deadlines are in a heap that renewals do not touch: a claim that is found to have been renewed when its old deadline
    comes up goes back with its new one.
    """

    def __init__(self, view: LockView, placement: Placement, time: ClaimTime) -> None:
        self._view = view
        self._placement = placement
        self._time = time
        self.member = placement.member
        self._tenures: dict[str, Tenure] = {}
        self._heap: list[tuple[float, str]] = []
        self._orphans: dict[str, str] = {}
        view.hooks.claim_written.append(self._written)
        view.hooks.claim_gone.append(self._forget)

    def __contains__(self, claim: str) -> bool:
        return claim in self._tenures

    def place(self) -> None:
        """Takes up and gives up claims after members came or went."""
        for entry in self._view.entries.values():
            for claim in entry.claims.values():
                self._written(entry.key, claim)

    def _written(self, lock: str, claim: LockClaim) -> None:
        tenure = self._tenures.get(claim.id)
        if not self._is_ours(lock, claim.member):
            self._forget(claim.id)
            return
        if tenure is None:
            tenure = self._tenures[claim.id] = Tenure(lock, claim.member, seconds(claim.ttl), 0.0)
            self._renew(claim.id, tenure)
        elif tenure.member != claim.member:
            tenure.member = claim.member
            self._renew(claim.id, tenure, grace=FRESH_SECONDS)  # so long it may have been told `alive` elsewhere
        if claim.member == self.member:
            self._orphans.pop(claim.id, None)
        else:
            self._orphans[claim.id] = lock

    def _is_ours(self, lock: str, member: str) -> bool:
        if member == self.member:
            return True
        return not self._placement.is_live(member) and self._placement.owns(lock_names.unit_of(lock))

    def _forget(self, claim: str) -> None:
        tenure = self._tenures.pop(claim, None)
        if tenure is not None:
            _end_hold(tenure)
        self._orphans.pop(claim, None)
        if len(self._heap) > 2 * len(self._tenures) + STALE_ENTRIES:
            self._heap = [item for item in self._heap if item[1] in self._tenures]
            heapq.heapify(self._heap)

    def _renew(self, claim: str, tenure: Tenure, *, grace: float = 0.0) -> None:
        tenure.deadline = self._time.now() + tenure.ttl + grace
        self._queue(claim, tenure, tenure.deadline)

    def _queue(self, claim: str, tenure: Tenure, at: float) -> None:
        if not tenure.queued:
            tenure.queued = True
            heapq.heappush(self._heap, (at, claim))

    def attach(self, claim: str, *, keeps: bool = False) -> Hold:
        """Binds a claim of this table to a stream, which is a sign of life; an older stream's hold ends."""
        tenure = self._tenures[claim]
        _end_hold(tenure)
        tenure.hold = Hold(claim, keeps, get_running_loop().create_future())
        self._renew(claim, tenure)
        return tenure.hold

    def lost(self, hold: Hold) -> None:
        """Notes that a stream is over, if it still had its claim: what is left of the TTL runs."""
        tenure = self._tenures.get(hold.claim)
        if tenure is not None and tenure.hold is hold:
            tenure.hold = None
            if hold.keeps:
                self._renew(hold.claim, tenure)

    def renew(self, claim: str) -> None:
        """Puts off the deadline of a claim of this table."""
        self._renew(claim, self._tenures[claim])

    def orphans(self) -> list[tuple[str, str]]:
        """Returns locks and claims of members that are gone, which are to be moved here."""
        return [(lock, claim) for claim, lock in self._orphans.items()]

    def is_orphan(self, claim: LockClaim) -> bool:
        """Whether a claim, as the view shows it now, is one of them."""
        return claim.id in self._orphans and self._tenures[claim.id].member == claim.member

    def is_closing(self, claim: str) -> bool:
        """Whether a claim is just being removed."""
        tenure = self._tenures.get(claim)
        return tenure is not None and tenure.closing

    def close_if_due(self, claim: str) -> bool:
        """Begins the removal of a claim that has run out; False if it has come to life again."""
        tenure = self._tenures.get(claim)
        if tenure is None or self._is_kept(claim, tenure) or tenure.deadline > self._time.now():
            return False
        tenure.closing = True
        return True

    def may_remove(self, claim: LockClaim) -> bool:
        """Whether a claim, as the view shows it now, is the one whose removal has begun."""
        tenure = self._tenures.get(claim.id)
        return tenure is not None and tenure.closing and tenure.member == claim.member

    def reopen(self, claim: str, *, grace: bool) -> None:
        """Ends the removal of a claim, if it is there still. With grace it gets another TTL."""
        tenure = self._tenures.get(claim)
        if tenure is not None:
            tenure.closing = False
            if grace:
                self._renew(claim, tenure)

    def due(self) -> list[tuple[str, str]]:
        """Returns locks and claims that have run out. Each comes up again a second later, unless it is gone."""
        now = self._time.now()
        found: list[tuple[str, str]] = []
        again: list[tuple[str, Tenure, float]] = []
        while self._heap and self._heap[0][0] <= now:
            _, claim = heapq.heappop(self._heap)
            tenure = self._tenures.get(claim)
            if tenure is None:
                continue
            tenure.queued = False
            if self._is_kept(claim, tenure):
                continue
            if tenure.deadline > now:
                again.append((claim, tenure, tenure.deadline))
            else:
                found.append((tenure.lock, claim))
                again.append((claim, tenure, now + RETRY_SECONDS))
        for claim, tenure, at in again:
            self._queue(claim, tenure, at)
        return found

    def _is_kept(self, claim: str, tenure: Tenure) -> bool:
        return claim in self._orphans or (tenure.hold is not None and tenure.hold.keeps)


def _end_hold(tenure: Tenure) -> None:
    if tenure.hold is not None and not tenure.hold.ended.done():
        tenure.hold.ended.set_result(None)
    tenure.hold = None
