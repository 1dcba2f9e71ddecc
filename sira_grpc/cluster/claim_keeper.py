"""The commands on claims: each change of a lock is one compare-and-set of its one key."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from sira.cluster.internal.v1.lock_record_pb2 import LockClaim, LockRecord

from sira_grpc.clock import Clock
from sira_grpc.cluster import claims, lock_names
from sira_grpc.cluster.claim_contact import StoreContact
from sira_grpc.cluster.claim_key import ClaimKey
from sira_grpc.cluster.claim_table import ClaimTable
from sira_grpc.cluster.claim_writer import ClaimWriter
from sira_grpc.cluster.lock_room import LockRoom
from sira_grpc.cluster.lock_view import LockEntry, LockView
from sira_grpc.commits import Commits
from sira_grpc.errors import LockHeld, LockLost, StoreUnavailable
from sira_grpc.times import timestamp


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants.

    Attributes:
        lock: store key.
        ttl: how long it is kept after its last sign of life.
        capacity, permits: of the lock, and how many of them are wanted.
        label, owner: for people.
        value: what is proclaimed.
        at_once: refuse it if it is not its turn.
        secret: of the key, where the caller has chosen it; empty where not.
    """

    lock: str
    ttl: Duration
    capacity: int
    permits: int
    label: str
    owner: str
    value: bytes = b""
    at_once: bool = False
    secret: str = ""


class ClaimKeeper:
    """Makes, moves and ends claims.

    Attributes:
        expired: claims that this member has ended since it started because they had run out.
    """

    def __init__(
        self,
        view: LockView,
        commits: Commits,
        writer: ClaimWriter,
        table: ClaimTable,
        contact: StoreContact,
        room: LockRoom,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._view = view
        self._commits = commits
        self._writer = writer
        self._table = table
        self._contact = contact
        self._room = room
        self._clock = clock
        self._random_bytes = random_bytes
        self.expired = 0

    async def join(self, wish: Wish) -> ClaimKey:
        """Makes a claim, or takes the one that has the key already; it is this member's then.

        If the caller is cancelled, it is ended again where nobody has the key; else what is left of its TTL runs.

        Raises:
            NamespaceNotFound, LimitExceeded, LockCapacityDiffers, LockHeld, Conflict, StoreUnavailable: there is none.
        """
        key = ClaimKey(wish.lock, wish.secret) if wish.secret else ClaimKey.make(wish.lock, self._random_bytes)
        claim = LockClaim(
            id=key.id,
            label=wish.label,
            owner=wish.owner,
            permits=wish.permits,
            ttl=wish.ttl,
            enqueue_time=timestamp(self._clock.time_ns()),
            member=self._table.member,
            value=wish.value,
        )
        wanted = True

        async def command() -> None:
            with self._room.keeping(wish.lock):
                await self._writer.write(wish.lock, lambda entry: self._joined(entry, claim, wish))
            if not wanted:
                await self._writer.write(wish.lock, lambda entry: self._left(entry, key.id))

        try:
            await self._commits.run(command())
        except CancelledError:
            wanted = bool(wish.secret)
            raise
        return key

    def _joined(self, entry: LockEntry | None, claim: LockClaim, wish: Wish) -> LockRecord:
        if entry is None:
            self._room.check_new(wish.lock)
        elif claim.id in entry.claims:  # written, though the caller, or this member, was not told
            mine = entry.claims[claim.id].member == claim.member
            return entry.record if mine else claims.move(entry.record, {claim.id}, claim.member)
        record = claims.join(entry.record if entry else None, claim, wish.capacity, self._now())
        waits = bool(record.waiters) and record.waiters[-1].id == claim.id
        if waits and wish.at_once:
            raise held(lock_names.name_of(wish.lock), len(record.waiters) - 1)
        self._room.check(wish.lock, record)
        return record

    def _left(self, entry: LockEntry | None, claim: str) -> LockRecord | None:
        if entry is None:
            return None
        return claims.leave(entry.record, {claim}, self._now()) if claim in entry.claims else entry.record

    def _now(self) -> Timestamp:
        return timestamp(self._clock.time_ns())

    def find(self, key: ClaimKey) -> tuple[LockEntry, LockClaim]:
        """Returns the claim that a key opens, as the view shows it.

        Raises:
            LockLost: none.
        """
        found = self._view.claim(key.id)
        if found is None:
            raise lost(key)
        return found

    async def open(self, text: str) -> ClaimKey:
        """Returns the key of a claim that is there, whatever this member knew of it before.

        Raises:
            LockLost: it opens nothing.
            StoreUnavailable: that cannot be told.
        """
        key = ClaimKey.parse(text)
        if self._view.claim(key.id) is None and key.lock:
            async with self._writer.turn(key.lock):
                pass  # it may be made here just now,
            await self._contact.confirm()  # or at another member
        self.find(key)
        return key

    async def take(self, text: str) -> ClaimKey:
        """Returns the key of a claim, which is this member's from here on.

        Raises:
            LockLost: it opens nothing.
            Conflict, StoreUnavailable: it could not be told, or written.
        """
        key = await self.open(text)
        if self._table.is_closing(key.id):
            async with self._writer.turn(key.lock):
                self.find(key)
        if self.find(key)[1].member != self._table.member:

            def plan(entry: LockEntry | None) -> LockRecord:
                if entry is None or key.id not in entry.claims:
                    raise lost(key)
                mine = entry.claims[key.id].member == self._table.member
                return entry.record if mine else claims.move(entry.record, {key.id}, self._table.member)

            await self._writer.run(key.lock, plan)
            self.find(key)
        return key

    async def proclaim(self, key: ClaimKey, value: bytes) -> None:
        """Has a claim say something else, durably.

        Raises:
            LockLost: the claim is over.
            LimitExceeded: all who stand have too much to say together.
            Conflict, StoreUnavailable: it does not say so, or that is not known.
        """

        def plan(entry: LockEntry | None) -> LockRecord:
            if entry is None or key.id not in entry.claims:
                raise lost(key)
            record = claims.proclaim(entry.record, key.id, value)
            self._room.check(key.lock, record)
            return record

        await self._writer.run(key.lock, plan)

    async def leave(self, key: ClaimKey) -> None:
        """Ends a claim. One that is over is no error.

        Raises:
            Conflict, StoreUnavailable: it is there still, or that is not known.
        """
        await self._writer.run(key.lock, lambda entry: self._left(entry, key.id))

    async def leave_queue(self, key: ClaimKey) -> bool:
        """Ends a claim if it waits; returns whether it does not, because it was granted.

        Raises: as leave().
        """
        granted = False

        def plan(entry: LockEntry | None) -> LockRecord | None:
            nonlocal granted
            granted = entry is not None and key.id in entry.claims and entry.claims[key.id].token > 0
            if entry is None or granted or key.id not in entry.claims:
                return entry.record if entry else None
            return claims.leave(entry.record, {key.id}, self._now())

        await self._writer.run(key.lock, plan)
        return granted

    async def adopt(self, lock: str) -> None:
        """Moves the claims on a lock that are orphans to this member: their TTLs begin then.

        Raises:
            Conflict, StoreUnavailable: they are where they were.
        """

        def plan(entry: LockEntry | None) -> LockRecord | None:
            if entry is None:
                return None
            orphans = {claim.id for claim in entry.claims.values() if self._table.is_orphan(claim)}
            return claims.move(entry.record, orphans, self._table.member) if orphans else entry.record

        await self._writer.write(lock, plan)

    async def expire(self, lock: str, ids: Sequence[str]) -> None:
        """Ends claims that have run out and were not heard of until the store has it.

        Raises:
            Conflict, StoreUnavailable: they are there still, and get another TTL if it was for the store.
        """
        async with self._writer.turn(lock):
            closing = [claim for claim in ids if self._table.close_if_due(claim)]
            grace, going = False, set[str]()

            def plan(entry: LockEntry | None) -> LockRecord | None:
                nonlocal going
                going = self._due(entry, closing)
                if entry is None or not going:
                    return entry.record if entry is not None else None
                return claims.leave(entry.record, going, self._now())

            try:
                if closing:
                    await self._writer.change(lock, plan)
                    self.expired += len(going)
            except StoreUnavailable:
                grace = True  # who tried to be heard meanwhile could not be, elsewhere
                raise
            finally:
                for claim in closing:
                    self._table.reopen(claim, grace=grace)

    def _due(self, entry: LockEntry | None, closing: Sequence[str]) -> set[str]:
        if entry is None:
            return set()
        return {id_ for id_ in closing if id_ in entry.claims and self._table.may_remove(entry.claims[id_])}

    async def clear(self, lock: str) -> None:
        """Ends a lock, whoever has it."""
        await self._writer.run(lock, lambda entry: None)


def held(name: str, ahead: int) -> LockHeld:
    """Returns the error for a lock that was not to be had in time."""
    return LockHeld(f"{name} is held by others", metadata={"resource": name, "ahead": str(ahead)})


def lost(key: ClaimKey) -> LockLost:
    """Returns the error for a key that opens nothing."""
    metadata = {"resource": lock_names.name_of(key.lock)} if key.lock else {}
    return LockLost(
        "the key opens nothing: the TTL has passed, it was released, or it never was one", metadata=metadata
    )
