"""One stream that has a claim: waits for its turn, tells of it, and answers each sign of life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from sira.cluster.internal.v1.lock_record_pb2 import LockClaim

from sira_grpc.cluster import lock_names
from sira_grpc.cluster.claim_contact import StoreContact
from sira_grpc.cluster.claim_keeper import ClaimKeeper, held, lost
from sira_grpc.cluster.claim_key import ClaimKey
from sira_grpc.cluster.claim_table import ClaimTable, Hold
from sira_grpc.cluster.lock_room import LockRoom
from sira_grpc.cluster.lock_view import LockEntry, LockView
from sira_grpc.errors import LeaseSuperseded, StoreUnavailable

ASKING_SECONDS = 1.0
"""How long the store is waited for before streams look again whether they still have their claims."""
RETRY_SECONDS = 0.25
"""After which the store is asked again, where it could not tell what is held."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Queued:
    """It waits, behind so many."""

    key: str
    ahead: int


@dataclass(frozen=True, slots=True)
class Granted:
    """It has what it wanted."""

    key: str
    token: int
    ttl: Duration


@dataclass(frozen=True, slots=True)
class Alive:
    """It has what it had."""


@dataclass(frozen=True, slots=True)
class Ended:
    """It was given back, as asked."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was asked for later is done."""


Event = Queued | Granted | Alive | Ended | Taken


@dataclass(frozen=True, slots=True)
class Begun:
    """A claim, and how long, in seconds, to wait for it; None for as long as it takes."""

    key: ClaimKey
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What claims are kept with."""

    view: LockView
    table: ClaimTable
    keeper: ClaimKeeper
    contact: StoreContact
    room: LockRoom


class ClaimSession(Generic[R]):
    """Used by one stream.

    Args:
        parts: what claims are kept with.
        begun: the claim that is there.
        requests: what the client sends from here on; its end gives the claim back.
        later: does what one of these asks for; returns whether it only renews. Each of them renews.
    """

    def __init__(
        self, parts: Parts, begun: Begun, requests: AsyncIterator[R], later: Callable[[R, ClaimKey], Awaitable[bool]]
    ) -> None:
        self._parts = parts
        self._key = begun.key
        self._wait = begun.wait
        self._requests = requests
        self._later = later
        self._told = False
        self._begun = False  # the first request is answered
        self._owed = True  # an answer: to the first request, and then to each that renews
        self._retry_at: float | None = None  # when the store is to be asked again, as it could not tell
        self._until: float | None = None

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yields what happens, until the claim is given back. Where it ends otherwise, what is left of the TTL runs.

        Raises:
            LockLost: the claim is over.
            LeaseSuperseded: another stream attached to it.
            LockHeld: it was not granted in time, and is over.
            Conflict, StoreUnavailable: what was asked for could not be done.
        """
        parts = self._parts
        if self._key.id not in parts.table:
            raise lost(self._key)
        hold = parts.table.attach(self._key.id)
        reading = asyncio.ensure_future(anext(self._requests))
        self._until = None if self._wait is None else asyncio.get_running_loop().time() + self._wait
        try:
            with parts.view.signalled(self._key.id) as signal:
                while True:
                    news = signal.fired()
                    event = await self._look(hold)
                    if event is not None:
                        yield event
                        continue
                    awaited: set[asyncio.Future[Any]] = {news, hold.ended}
                    if not self._owed:  # who is not answered is not read from
                        awaited.add(reading)
                    await asyncio.wait(awaited, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)
                    if self._owed or not reading.done():
                        continue
                    try:
                        request = reading.result()
                    except StopAsyncIteration:
                        break
                    self._find(hold)
                    parts.table.renew(self._key.id)
                    self._owed = await self._later(request, self._key)
                    reading = asyncio.ensure_future(anext(self._requests))
                    if not self._owed:
                        yield Taken()
            # A read ends in the same way whether the client has closed its side or is gone; a write tells them apart,
            # and only then is the claim given back.
            yield self._state(*self._find(hold))
            await parts.keeper.leave(self._key)
            yield Ended()
        finally:
            parts.table.lost(hold)
            await _drop(reading)

    def _find(self, hold: Hold) -> tuple[LockEntry, LockClaim]:
        """Returns the claim as the view shows it.

        Raises:
            KernelStopping, LockLost, LeaseSuperseded: it is not this stream's any more.
        """
        self._parts.view.check_open()
        entry, claim = self._parts.keeper.find(self._key)
        if hold.ended.done() or claim.member != self._parts.table.member:
            raise superseded(lock_names.name_of(entry.key))
        return entry, claim

    def _state(self, entry: LockEntry, claim: LockClaim) -> Event:
        return Alive() if claim.token else Queued(str(self._key), entry.ahead(claim.id))

    async def _look(self, hold: Hold) -> Event | None:
        """Returns what there is to tell now; None if that is nothing.

        Raises: as _find(); LockHeld: it was waited for long enough.
        """
        entry, claim = self._find(hold)
        if self._waited_enough(claim) and not self._owed:
            await self._give_up(entry)
            return None
        news = claim.token and not self._told
        now = asyncio.get_running_loop().time()
        if not (news or self._owed) or (self._retry_at is not None and now < self._retry_at):
            return None
        self._retry_at = None
        try:
            async with asyncio.timeout(ASKING_SECONDS):
                await self._parts.contact.fresh()
        except (TimeoutError, StoreUnavailable):
            self._retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS
            return None
        entry, claim = self._find(hold)  # now it is known to be so
        first, self._begun = not self._begun, True
        if claim.token and not self._told:
            self._told, self._until = True, None
            if first:
                self._owed = False  # later it comes unasked: a renewal is answered besides
            return Granted(str(self._key), claim.token, claim.ttl)
        self._owed = False
        return self._state(entry, claim)

    def _waited_enough(self, claim: LockClaim) -> bool:
        return not claim.token and self._until is not None and asyncio.get_running_loop().time() >= self._until

    async def _give_up(self, entry: LockEntry) -> None:
        self._until = None
        if not await self._parts.keeper.leave_queue(self._key):
            raise held(lock_names.name_of(entry.key), entry.ahead(self._key.id))

    def _patience(self) -> float | None:
        """Returns the seconds until there may be something to tell, if nothing happens before; None for ever."""
        times = [at for at in (self._retry_at, self._until) if at is not None]
        return max(0.0, min(times) - asyncio.get_running_loop().time()) if times else None


def superseded(name: str) -> LeaseSuperseded:
    """Returns the error for a stream, or a call, whose claim another one has, by the name of the lock."""
    return LeaseSuperseded(f"{name}: another stream attached to this claim", metadata={"resource": name})


async def _drop(reading: asyncio.Future[Any]) -> None:
    """Ends a read that nobody waits for any more, however it ends."""
    reading.cancel()
    await asyncio.wait([reading])
    if not reading.cancelled():
        reading.exception()
