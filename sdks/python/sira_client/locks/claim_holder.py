"""Holds one claim through lost connections, members that are gone and a store without a leader."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import inf
from typing import Any

import grpc

from sira_client.errors import LockHeldError, LockLostError, SiraError, UnavailableError
from sira_client.first_of import drop
from sira_client.link import Link
from sira_client.locks.claim import Claim, Event, Told
from sira_client.locks.claim_stream import REPLACED, ClaimStream, Proclamation
from sira_client.settings import Settings

_log = logging.getLogger(__name__)

_ATTACHED = 1 / 4
"""Within this share of the TTL an attempt to attach has to be answered: there is time for several."""


class ClaimHolder:
    """Claims something, waits for it, and holds it until it is released or lost.

    What is held counts as lost one TTL after the last request was sent that the kernel has answered, on the monotonic
    clock of this process, whatever comes later: the kernel counts from when it heard that request, which was after.
    So a process that was stopped for that long knows it when it goes on.

    Attributes:
        token: fencing token; 0 while it waits.
        lost: set when it is not held any more, though it was not released.
        error: why it was lost or refused, or could not be told for the time being. None while all is well.

    Args:
        link: to the kernel.
        channel: for unary calls to it.
        settings: of the client.
        claim: what to claim.
        wait: how long, in seconds, to wait for it; None for as long as it takes.
    """

    def __init__(
        self, link: Link, channel: grpc.aio.Channel, settings: Settings, claim: Claim, wait: float | None
    ) -> None:
        self.token = 0
        self.lost = asyncio.Event()
        self.error: SiraError | None = None
        self._link = link
        self._channel = channel
        self._settings = settings
        self._claim = claim
        self._wait = wait
        self._key = ""
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None
        self._granted = asyncio.Event()
        self._released = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._stream: ClaimStream | None = None
        self._proclaiming = asyncio.Lock()
        self._proclamation: Proclamation | None = None

    @property
    def held(self) -> bool:
        """Whether it is held now, by the clock: true before and after are no proof of what is in between."""
        self._look()
        return self._granted.is_set() and not self.lost.is_set() and not self._released.is_set()

    @property
    def closed(self) -> bool:
        """Whether it was begun and has ended."""
        return self._running is not None and self._running.done()

    async def acquire(self) -> None:
        """Waits until it is held.

        Raises:
            LockHeldError: it was not to be had in time.
            SiraError: the kernel refused, or was not there in time.
        """
        if self._running is not None:
            raise RuntimeError(f"{self._claim.name} can be claimed only once by the same object")
        self._running = asyncio.create_task(self._run())
        granted = asyncio.create_task(self._granted.wait())
        patience = self._wait or (None if self._wait is None else self._settings.default_timeout)
        try:
            await asyncio.wait({self._running, granted}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not self._granted.is_set():
                refused, waited, error = self._running.done(), bool(self._key), self.error
                await self.close()
                raise error if error is not None and (refused or not waited) else self._not_in_time()
        except BaseException:
            await self.close()
            raise
        finally:
            await drop(granted)

    def _not_in_time(self) -> SiraError:
        if self._key:
            return LockHeldError(f"{self._claim.name} is held by others")
        return UnavailableError(f"{self._claim.name}: no answer in time")

    async def proclaim(self, request: Callable[[], Any]) -> None:
        """Proclaims what a request says, which is made when it is sent, and returns once that is durable.

        Raises:
            LockLostError: it is not held any more.
        """
        async with self._proclaiming:
            if self.lost.is_set() or self.closed:
                raise self.error or LockLostError(f"{self._claim.name} is not held any more")
            self._proclamation = proclamation = Proclamation(request)
            try:
                self._say()
                await proclamation.done
            finally:
                self._proclamation = None

    async def close(self) -> None:
        """Gives it back. Does nothing more if that was done."""
        self._released.set()
        if self._stream is not None:
            self._stream.release()
        if self._running is not None:
            await asyncio.shield(self._running)

    async def _run(self) -> None:
        """Keeps a stream open until the claim is given back, lost or refused."""
        backoff = self._settings.backoff()
        try:
            while not self._released.is_set():
                member = self._link.member
                patience = self._claim.ttl * _ATTACHED if self._key else self._settings.default_timeout
                self._stream = stream = ClaimStream(member, self._claim, self._key, self._take, patience)
                self._say()
                error = await stream.run()
                if error is None:
                    return
                if stream.answered:
                    backoff.reset()
                if error is REPLACED:
                    continue
                if not self._released.is_set() and not self._goes_on(error):
                    break
                self._link.leave(member)
                await self._pause(backoff.next(error.retry_after))
            await self._released_or_over()
            await self._give_back()
        finally:
            self._end()

    def _goes_on(self, error: SiraError) -> bool:
        """Decides what the loss of a stream means: whether another one is opened."""
        if self._granted.is_set():
            if error.reason == "LOCK_LOST":
                self._lose(error)
            elif not self.lost.is_set():
                _log.warning("the stream that holds %s was lost, and is opened again: %s", self._claim.name, error)
                self.error = error
            return not self.lost.is_set()
        self.error = error
        if error.reason == "LOCK_LOST" and self._key:
            self._key = ""  # nothing was heard of it for one TTL: it has to wait from the end of the queue again
            return True
        return self._link.may_pass(error)

    async def _pause(self, delay: float) -> None:
        """Waits before the next attempt, unless there is to be none."""
        sleeping = asyncio.ensure_future(self._settings.clock.sleep(delay))
        others = [asyncio.create_task(event.wait()) for event in (self._released, self.lost)]
        try:
            await asyncio.wait({sleeping, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await drop(sleeping, *others)

    async def _released_or_over(self) -> None:
        """Waits, with what was lost only for want of an answer, until the program is done with it."""
        if self.lost.is_set() and self._key:
            await self._released.wait()

    async def _give_back(self) -> None:
        """Gives it back without a stream, also where it may be there unheard of. Else it ends with its TTL."""
        if self.error is not None and not (self._key or self._link.may_pass(self.error)):
            return  # it was refused
        if self.error is not None and self.error.reason == "LOCK_LOST":
            return
        patience = self._claim.ttl if self._key else self._claim.ttl * _ATTACHED
        backoff = self._settings.backoff()
        try:
            async with asyncio.timeout(min(patience, self._settings.default_timeout)):
                while True:
                    try:
                        await self._claim.give_back(self._channel, self._key or self._claim.key)
                        return
                    except SiraError as error:
                        if not (self._key and self._link.may_pass(error)):
                            raise
                        await self._settings.clock.sleep(backoff.next(error.retry_after))
        except (TimeoutError, SiraError) as error:
            _log.warning("%s could not be given back, and ends with its TTL: %r", self._claim.name, error)

    def _take(self, told: Told, sent: float) -> None:
        """Takes what the kernel has told, if it is not too late."""
        self._look()
        self._key = told.key or self._key
        if self.lost.is_set():
            return
        if told.event is Event.GRANTED:
            self.token = told.token
            self._granted.set()
        if self._granted.is_set():
            self.error = None
            self._deadline = sent + self._claim.ttl
            if self._timer is not None:
                self._timer.cancel()
            self._watch()

    def _watch(self) -> None:
        """Looks again when the TTL has passed. The event loop may be a moment early: then once more."""
        self._look()
        if not self.lost.is_set():
            self._timer = asyncio.get_running_loop().call_at(self._deadline, self._watch)

    def _look(self) -> None:
        """Finds out whether the TTL has passed."""
        if not self.lost.is_set() and asyncio.get_running_loop().time() >= self._deadline:
            self._lose(LockLostError(f"{self._claim.name}: no request was answered for one TTL"))

    def _lose(self, error: SiraError) -> None:
        if not self._released.is_set() and not self.lost.is_set():
            self.error = error
            self.lost.set()
            self._fail_proclamation()
            if self._stream is not None:
                self._stream.leave()

    def _say(self) -> None:
        """Has what is to be proclaimed sent on the stream that is open."""
        if self._proclamation is not None and self._stream is not None:
            self._stream.proclaim(self._proclamation)

    def _fail_proclamation(self) -> None:
        if self._proclamation is not None:
            self._proclamation.fail(self.error or LockLostError(f"{self._claim.name} is not held any more"))

    def _end(self) -> None:
        self._deadline = inf
        if self._timer is not None:
            self._timer.cancel()
        self._fail_proclamation()
