"""Locks and elections as this member sees them: an image of the store in memory."""

from __future__ import annotations

from asyncio import Future, get_running_loop
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sira.cluster.internal.v1.lock_record_pb2 import LockClaim, LockRecord

from sira_grpc.cluster import claims, lock_names
from sira_grpc.errors import KernelStopping
from sira_grpc.progress import Progress
from sira_grpc.store.api import Change, Commit, Snapshot


@dataclass(slots=True, eq=False)
class LockEntry:
    """A lock or an election as a commit left it. It never changes: what comes later is another entry.

    Attributes:
        key: in the store.
        record: what is there; every holder has its token.
        revision: of the entry.
        claims: those who have it or wait, by id.
    """

    key: str
    record: LockRecord
    revision: int
    claims: Mapping[str, LockClaim]

    def ahead(self, claim: str) -> int:
        """Counts who waits before a claim; all, if it does not wait."""
        return next((n for n, waiter in enumerate(self.record.waiters) if waiter.id == claim), len(self.record.waiters))


class Signal:
    """Tells one task that something has changed, as a future that can be waited for with others."""

    __slots__ = ("_fired",)

    def __init__(self) -> None:
        self._fired: Future[None] = get_running_loop().create_future()

    def fire(self) -> None:
        """Ends the wait."""
        if not self._fired.done():
            self._fired.set_result(None)

    def fired(self) -> Future[None]:
        """Returns what is done at the next change; at once if there was one since the last time that it was done."""
        if self._fired.done():
            self._fired = get_running_loop().create_future()
        return self._fired


@dataclass(slots=True)
class ViewHooks:
    """Called on the event loop for each claim that a change has touched, in its order; they must not block.

    claim_written: a claim is new, was granted, or is at another member.
    claim_gone: a claim is over; its id.
    """

    claim_written: list[Callable[[str, LockClaim], None]] = field(default_factory=list)
    claim_gone: list[Callable[[str], None]] = field(default_factory=list)


class LockView:
    """Locks and elections by their store keys, and claims by their ids. Changed only by load() and apply()."""

    def __init__(self) -> None:
        self.entries: dict[str, LockEntry] = {}
        self.locks_of_claims: dict[str, str] = {}
        self.hooks = ViewHooks()
        self._namespaces: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._signals: defaultdict[str, set[Signal]] = defaultdict(set)
        self._progress = Progress()
        self.closed = False

    @property
    def revision(self) -> int:
        """Everything up to it is in the view."""
        return self._progress.revision

    def claim(self, claim: str) -> tuple[LockEntry, LockClaim] | None:
        """Returns a claim by its id, and the lock that it is on; None if it is not there."""
        key = self.locks_of_claims.get(claim)
        if key is None:
            return None
        entry = self.entries[key]
        return entry, entry.claims[claim]

    def held_in(self, namespace: str) -> Mapping[str, None]:
        """Returns the keys of the locks and elections of a namespace, `namespaces/{namespace}`."""
        return self._namespaces.get(namespace, {})

    @contextmanager
    def signalled(self, subject: str) -> Iterator[Signal]:
        """Has a signal fired, within the block, when a claim, by its id, or a lock, by its key, has changed."""
        signal = Signal()
        self._signals[subject].add(signal)
        try:
            yield signal
        finally:
            self._signals[subject].discard(signal)
            if not self._signals[subject]:
                del self._signals[subject]

    def load(self, snapshot: Snapshot) -> None:
        """Fills an empty view."""
        for entry in snapshot.entries:
            self._apply(Change(entry.key, entry.value, entry.revision))
        self._progress.advance(snapshot.revision)

    def apply(self, commit: Commit) -> None:
        """Applies a commit, and wakes who waits for its revision or for what it changes."""
        for change in commit.changes:
            self._apply(change)
        self._progress.advance(commit.revision)

    async def caught_up(self, revision: int) -> None:
        """Returns once everything up to a revision is in the view.

        Raises:
            KernelStopping: the view was closed before.
        """
        await self._progress.reached(revision)

    def close(self) -> None:
        """Notes that nothing is applied any more, and wakes whoever waits."""
        self.closed = True
        self._progress.close()
        for signals in self._signals.values():
            for signal in signals:
                signal.fire()

    def check_open(self) -> None:
        """Raises KernelStopping if nothing is applied any more."""
        if self.closed:
            raise KernelStopping("the kernel is stopping", retry_after=0.5)

    def _apply(self, change: Change) -> None:
        key = change.key
        if not lock_names.is_claimed(key):
            return
        before = self.entries.get(key)
        if before is not None and change.revision <= before.revision:
            return  # the snapshot was newer
        after = _entry(change)
        if after is not None:
            self.entries[key] = after
            self._namespaces[lock_names.namespace_of(key)][key] = None
        elif before is not None:
            del self.entries[key]
            self._forget_in_namespace(key)
        old = before.claims if before is not None else {}
        new = after.claims if after is not None else {}
        for claim in old.keys() - new.keys():
            del self.locks_of_claims[claim]
            self._tell(claim)
            for gone in self.hooks.claim_gone:
                gone(claim)
        for id_, written in new.items():
            known = old.get(id_)
            if known is None or (known.member, known.token) != (written.member, written.token):
                self.locks_of_claims[id_] = key
                self._tell(id_)
                for hook in self.hooks.claim_written:
                    hook(key, written)
        self._tell(key)

    def _forget_in_namespace(self, key: str) -> None:
        namespace = lock_names.namespace_of(key)
        self._namespaces[namespace].pop(key, None)
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]

    def _tell(self, subject: str) -> None:
        for signal in self._signals.get(subject, ()):
            signal.fire()


def _entry(change: Change) -> LockEntry | None:
    if change.value is None:
        return None
    record = LockRecord.FromString(change.value)
    claims.number(record, change.revision)
    by_id = {claim.id: claim for claim in (*record.holders, *record.waiters)}
    return LockEntry(change.key, record, change.revision, by_id)
