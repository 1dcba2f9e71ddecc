"""The rules of a lock: who gets it, in which order, and with which token. Pure functions from record to record.

A token is larger than every one before it, also where the lock was deleted in between. The first token of a record is
the revision at which the store has created it, and each further one is one more. Each token goes to one claim, and
each claim was a commit of its own: so no token is above the revision of its claim, and the revision of a later record
is above that of every earlier claim. No clock and no member that lags behind can break this.
"""

from __future__ import annotations

from collections.abc import Collection

from google.protobuf.timestamp_pb2 import Timestamp
from sira.cluster.internal.v1.lock_record_pb2 import LockClaim, LockRecord

from sira_grpc.errors import LockCapacityDiffers


def join(record: LockRecord | None, claim: LockClaim, capacity: int, now: Timestamp) -> LockRecord:
    """Returns a lock with one more claim, behind all others; it is granted if it is its turn.

    Args:
        record: the lock; None if it is not there.
        claim: asks for at most the capacity.
        capacity: of the lock.
        now: the time.

    Raises:
        LockCapacityDiffers: the lock has another capacity.
    """
    if record is None:
        created = LockRecord(capacity=capacity, holders=[claim])
        created.holders[0].acquire_time.CopyFrom(now)
        return created
    if record.capacity != capacity:
        raise LockCapacityDiffers(
            f"the capacity is {record.capacity} for those who have it or wait, not {capacity}",
            metadata={"capacity": str(record.capacity)},
        )
    joined = _copy(record)
    joined.waiters.append(claim)
    _grant(joined, now)
    return joined


def leave(record: LockRecord, gone: Collection[str], now: Timestamp) -> LockRecord | None:
    """Returns a lock without some claims, by their ids, and with what that makes room for; None if nobody is left."""
    left = _copy(record)
    for claims in (left.holders, left.waiters):
        staying = [claim for claim in claims if claim.id not in gone]
        if len(staying) < len(claims):
            del claims[:]
            claims.extend(staying)
    _grant(left, now)
    return left if left.holders else None


def move(record: LockRecord, moving: Collection[str], member: str) -> LockRecord:
    """Returns a lock some of whose claims, by their ids, are at another member."""
    moved = _copy(record)
    for claims in (moved.holders, moved.waiters):
        for claim in claims:
            if claim.id in moving:
                claim.member = member
    return moved


def proclaim(record: LockRecord, claim: str, value: bytes) -> LockRecord:
    """Returns a lock one of whose claims says something else."""
    proclaimed = _copy(record)
    _find(proclaimed, claim).value = value
    return proclaimed


def number(record: LockRecord, revision: int) -> None:
    """Gives the one holder of a record that was just created its token, which its writer could not know."""
    if not record.last_token:
        record.last_token = record.holders[0].token = revision


def _grant(record: LockRecord, now: Timestamp) -> None:
    """Grants what has its turn and fits: whoever waits at the head is not overtaken, however little others want."""
    free = record.capacity - sum(claim.permits for claim in record.holders)
    while record.waiters and record.waiters[0].permits <= free:
        claim = record.holders.add()
        claim.CopyFrom(record.waiters[0])
        del record.waiters[0]
        record.last_token += 1
        claim.token = record.last_token
        claim.acquire_time.CopyFrom(now)
        free -= claim.permits


def _find(record: LockRecord, claim: str) -> LockClaim:
    return next(found for claims in (record.holders, record.waiters) for found in claims if found.id == claim)


def _copy(record: LockRecord) -> LockRecord:
    copy = LockRecord()
    copy.CopyFrom(record)
    return copy
