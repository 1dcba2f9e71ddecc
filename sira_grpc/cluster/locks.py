"""What callers do with locks and semaphores: acquire, hold, renew, release, and look at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from google.protobuf.duration_pb2 import Duration
from sira.cluster.internal.v1.lock_record_pb2 import LockClaim
from sira.cluster.v1.lock_pb2 import Lock, LockHolder, LockWaiter
from sira.cluster.v1.lock_service_pb2 import (
    HoldLockRequest,
    HoldLockResponse,
    LockAcquired,
    LockAcquisition,
    LockAlive,
    LockQueued,
    LockReleased,
)

from sira_grpc.cluster import lock_names
from sira_grpc.cluster.claim_keeper import Wish, held
from sira_grpc.cluster.claim_key import ClaimKey
from sira_grpc.cluster.claim_session import Begun, ClaimSession, Ended, Event, Granted, Parts, Queued, superseded
from sira_grpc.cluster.claim_table import Hold
from sira_grpc.cluster.lock_view import LockEntry
from sira_grpc.errors import FieldViolation, InvalidField, LockLost, LockNotFound
from sira_grpc.pages import take_page
from sira_grpc.times import seconds

DEFAULT_TTL = Duration(seconds=10)


class Locks:
    """The commands on locks, and reads of them from the view."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def hold(
        self, requests: AsyncIterator[HoldLockRequest], owner: str
    ) -> AsyncGenerator[HoldLockResponse, None]:
        """Acquires, or attaches to, what the first request says, and holds it for as long as requests renew it.

        Raises, from the iteration:
            InvalidField, NamespaceNotFound, LimitExceeded, LockCapacityDiffers, LockHeld: it was not acquired.
            LockLost: it is over.
            LeaseSuperseded: another stream attached to it.
            Conflict, StoreUnavailable: it could not be written.
        """
        first = await anext(aiter(requests), None)
        step = first.WhichOneof("step") if first is not None else None
        if first is None or step == "renew":
            raise InvalidField([FieldViolation("step", "must be acquire or lock_key in the first request")])
        if step == "lock_key":
            begun = Begun(await self._parts.keeper.take(first.lock_key))
        else:
            wish = _wish(first.acquire, owner, "acquire", at_once=_wait(first.acquire) == 0)
            begun = Begun(await self._parts.keeper.join(wish), _wait(first.acquire))
        session = ClaimSession(self._parts, begun, requests, _renew)
        async with aclosing(session.events()) as events:
            async for event in events:
                yield _response(event)

    async def acquire(self, acquisition: LockAcquisition, owner: str) -> LockAcquired:
        """Acquires, waiting for as long as it says; not at all where it does not say.

        Raises: as hold().
        """
        wait = _wait(acquisition) or 0.0
        parts = self._parts
        key = await parts.keeper.join(_wish(acquisition, owner, "acquisition", at_once=not wait))
        if key.id not in parts.table:
            raise LockLost("the lock was taken away at once", metadata={"resource": acquisition.name})
        hold = parts.table.attach(key.id, keeps=True)
        try:
            return await self._granted(key, hold, wait)
        except BaseException:
            if not acquisition.key_secret:
                await parts.keeper.leave(key)  # nobody has the key
            raise
        finally:
            parts.table.lost(hold)

    async def _granted(self, key: ClaimKey, hold: Hold, wait: float) -> LockAcquired:
        """Waits for the turn of a claim."""
        parts = self._parts
        deadline = asyncio.get_running_loop().time() + wait
        with parts.view.signalled(key.id) as signal:
            while True:
                news = signal.fired()
                parts.view.check_open()
                entry, claim = parts.keeper.find(key)
                if claim.token:
                    return _acquired(key, claim)
                if hold.ended.done():
                    raise superseded(lock_names.name_of(entry.key))
                left = deadline - asyncio.get_running_loop().time()
                if left > 0:
                    await asyncio.wait({news, hold.ended}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                elif not await parts.keeper.leave_queue(key):
                    raise held(lock_names.name_of(entry.key), entry.ahead(key.id))

    async def renew(self, lock_key: str) -> LockAcquired:
        """Holds for another TTL.

        Raises:
            LockLost: it is over.
            LockHeld: it waits still, and keeps its place for another TTL.
            Conflict, StoreUnavailable: whether it is held cannot be told; it keeps what it has for another TTL.
        """
        parts = self._parts
        key = await parts.keeper.take(lock_key)
        parts.table.renew(key.id)
        await parts.contact.fresh()
        entry, claim = parts.keeper.find(key)
        if not claim.token:
            raise held(lock_names.name_of(entry.key), entry.ahead(key.id))
        return _acquired(key, claim)

    async def release(self, lock_key: str) -> None:
        """Gives back what a key has, or its place in the queue. What is gone already is no error.

        Raises:
            Conflict, StoreUnavailable: it is there still, or that is not known.
        """
        try:
            key = await self._parts.keeper.open(lock_key)
        except LockLost:
            return
        await self._parts.keeper.leave(key)

    def get(self, name: str) -> Lock:
        """Returns a lock.

        Raises:
            LockNotFound: nobody has it or waits for it.
        """
        entry = self._parts.view.entries.get(lock_names.key_of(name))
        if entry is None:
            raise LockNotFound(f"nobody has {name} or waits for it", metadata={"resource": name})
        return _described(entry)

    async def list(self, parent: str, *, size: int, token: str) -> tuple[list[Lock], str]:
        """Returns a page of the locks of a namespace by name, and the token of the next one.

        Raises:
            NamespaceNotFound, InvalidPageToken.
        """
        self._parts.room.check_namespace(parent)
        view = self._parts.view
        keys = (key for key in view.held_in(parent) if key.startswith(lock_names.LOCKS))

        def load(key: str) -> Lock | None:
            entry = view.entries.get(key)
            return _described(entry) if entry is not None else None

        return await take_page(keys, load, None, size=size, token=token, query=f"locks of {parent}")


def _wish(acquisition: LockAcquisition, owner: str, field: str, *, at_once: bool) -> Wish:
    capacity, permits = acquisition.capacity or 1, acquisition.permits or 1
    if permits > capacity:
        raise InvalidField([FieldViolation(f"{field}.permits", f"must be at most the capacity, {capacity}")])
    return Wish(
        lock=lock_names.key_of(acquisition.name),
        ttl=acquisition.ttl if acquisition.HasField("ttl") else DEFAULT_TTL,
        capacity=capacity,
        permits=permits,
        label=acquisition.label,
        owner=owner,
        at_once=at_once,
        secret=acquisition.key_secret,
    )


def _wait(acquisition: LockAcquisition) -> float | None:
    return seconds(acquisition.wait) if acquisition.HasField("wait") else None


async def _renew(request: HoldLockRequest, key: ClaimKey) -> bool:
    if request.WhichOneof("step") != "renew":
        raise InvalidField([FieldViolation("step", "must be renew after the first request")])
    return True


def _response(event: Event) -> HoldLockResponse:
    match event:
        case Queued(key, ahead):
            return HoldLockResponse(queued=LockQueued(lock_key=key, ahead=ahead))
        case Granted(key, token, ttl):
            return HoldLockResponse(acquired=LockAcquired(lock_key=key, token=token, ttl=ttl))
        case Ended():
            return HoldLockResponse(released=LockReleased())
        case _:
            return HoldLockResponse(alive=LockAlive())


def _acquired(key: ClaimKey, claim: LockClaim) -> LockAcquired:
    return LockAcquired(lock_key=str(key), token=claim.token, ttl=claim.ttl)


def _described(entry: LockEntry) -> Lock:
    return Lock(
        name=lock_names.name_of(entry.key),
        capacity=entry.record.capacity,
        holders=[
            LockHolder(
                label=claim.label,
                owner=claim.owner,
                token=claim.token,
                permits=claim.permits,
                ttl=claim.ttl,
                acquire_time=claim.acquire_time,
                member=lock_names.member_name(claim.member),
            )
            for claim in entry.record.holders
        ],
        waiters=[
            LockWaiter(label=claim.label, owner=claim.owner, permits=claim.permits, enqueue_time=claim.enqueue_time)
            for claim in entry.record.waiters
        ],
        revision=entry.revision,
    )
