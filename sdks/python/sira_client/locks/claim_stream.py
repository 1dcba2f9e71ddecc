"""One stream that renews a claim, from its first request to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

import grpc

from sira_client.errors import SiraError, UnavailableError, from_rpc_error
from sira_client.first_of import drop
from sira_client.link import Member
from sira_client.locks.claim import Claim, Event, Told

REPLACED = UnavailableError("the connection of the stream was replaced")

_RENEWED = 1 / 3
"""A renewal follows the one before it after this share of the TTL."""
_ANSWERED = 1 / 4
"""Within this share of the TTL it has to be answered: then there is time for other members."""

Take = Callable[[Told, float], None]
"""Takes what the kernel told, and when the last request was sent that is answered, on the clock of the event loop."""


class Proclamation:
    """Something to proclaim, and whether that is done.

    Attributes:
        request: makes the request that says it, when it is sent.
        done: once it is durable.
    """

    def __init__(self, request: Callable[[], Any]) -> None:
        self.request = request
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def succeed(self) -> None:
        """Notes that it is durable."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: SiraError) -> None:
        """Notes that it is not, or that nobody knows."""
        if not self.done.done():
            self.done.set_exception(error)


class ClaimStream:
    """Renews a claim, and says what else is to be said, one request after the answer to the last.

    Args:
        member: whom to open it to.
        claim: what is claimed.
        key: of the claim that is there; empty to make one.
        take: takes what the kernel tells.
        patience: seconds within which the first request has to be answered.
    """

    def __init__(self, member: Member, claim: Claim, key: str, take: Take, patience: float) -> None:
        self._member = member
        self._claim = claim
        self._key = key
        self._take = take
        self._patience = patience
        self._proclamation: Proclamation | None = None  # to be sent
        self._proclaiming: Proclamation | None = None  # that waits for its answer
        self._news = asyncio.Event()
        self._released = False
        self._over = False
        self._given_back = False
        self.answered = False
        """Whether the kernel has told anything yet."""
        self._sent = self._heard = asyncio.get_running_loop().time()
        self._waiting = True  # for the answer to what was sent last

    def proclaim(self, proclamation: Proclamation) -> None:
        """Has something proclaimed."""
        self._proclamation = proclamation
        self._news.set()

    def release(self) -> None:
        """Has the claim given back in good order."""
        self._released = True
        self._news.set()

    def leave(self) -> None:
        """Has the stream broken off."""
        self._over = True
        self._news.set()

    async def run(self) -> SiraError | None:
        """Keeps the stream until it is lost or left, and returns why; None if the claim was given back."""
        call = self._member.carrying(self._claim.open(self._member))
        tasks = asyncio.create_task(self._read(call)), asyncio.create_task(self._write(call))
        reading, writing = tasks
        try:
            waiting: set[asyncio.Future[Any]] = {*tasks, self._member.replaced}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
                return None if self._given_back else UnavailableError("the kernel ended the stream")
            return writing.result() if writing.done() else REPLACED
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure)
        finally:
            call.cancel()
            await drop(*tasks)

    async def _read(self, call: Any) -> None:
        while (response := await call.read()) is not grpc.aio.EOF:
            told = self._claim.read(response)
            self._given_back = told.event is Event.GIVEN_BACK
            # Of what has changed by itself it tells unasked, once: the turn has come.
            unasked = told.event is Event.GRANTED and self.answered
            self.answered = True
            if not unasked:
                self._waiting, self._heard = False, self._sent
            self._take(told, self._heard)
            if told.event is Event.PROCLAIMED and self._proclaiming is not None:
                self._proclaiming.succeed()
            self._news.set()

    async def _write(self, call: Any) -> SiraError | None:
        """Sends one request after another. Returns why the stream is to be left."""
        with suppress(asyncio.InvalidStateError):  # the call is over already: reading says why
            await call.write(self._claim.first(self._key))
            while not self._over:
                if not self._waiting and self._released:
                    return await self._finish(call)
                if not self._waiting and (request := self._next()) is not None:
                    self._sent, self._waiting = asyncio.get_running_loop().time(), True
                    await call.write(request)
                    continue
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._due()):
                        await self._news.wait()
                if self._waiting and asyncio.get_running_loop().time() >= self._due():
                    return UnavailableError(f"the kernel at {self._member.address} does not answer")
            return UnavailableError("the claim was lost")
        await asyncio.Event().wait()  # reading ends it
        return None

    async def _finish(self, call: Any) -> SiraError:
        await call.done_writing()
        await asyncio.sleep(self._patience)  # reading is over before
        return UnavailableError("the kernel did not confirm that the claim was given back")

    def _next(self) -> Any:
        """What is to be sent now; None for nothing."""
        if self._proclamation is not None:
            self._proclaiming, self._proclamation = self._proclamation, None
            return self._proclaiming.request()
        return self._claim.renew() if asyncio.get_running_loop().time() >= self._due() else None

    def _due(self) -> float:
        """When the answer must be there that is waited for, or else the next renewal is to be sent."""
        if not self._waiting:
            return self._sent + self._claim.ttl * _RENEWED
        if self._released and not self.answered:
            return -inf
        return self._sent + (self._claim.ttl * _ANSWERED if self.answered else self._patience)
