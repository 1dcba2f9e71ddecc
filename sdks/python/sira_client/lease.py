"""Holds one lease, with the endpoints under it, through lost connections and kernel restarts."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Sequence
from typing import Any, TypeVar

import grpc
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest, HoldLeaseResponse, RevokeLeaseRequest

from sira_client.backoff import Backoff
from sira_client.errors import DeadlineExceededError, SiraError, UnavailableError, from_rpc_error
from sira_client.first_of import drop
from sira_client.lease_stream import LeaseStream
from sira_client.link import Link, Member
from sira_client.settings import Settings

_log = logging.getLogger(__name__)

_KEY_IS_VOID = frozenset({"LEASE_NOT_FOUND", "LEASE_NOT_YOURS"})

_REPLACED = UnavailableError("the connection of the stream was replaced")

T = TypeVar("T")


class RegistrationState(enum.Enum):
    """How a registration is."""

    REGISTERING = "registering"
    """It has not been registered yet."""
    HELD = "held"
    """It is registered, and an open stream holds its lease."""
    RECONNECTING = "reconnecting"
    """The stream was lost; the lease lives on for its TTL, and is being attached again."""
    SUPERSEDED = "superseded"
    """Somebody else attached to the lease with its key. It is theirs now."""
    FAILED = "failed"
    """The kernel refused the registration."""
    RELEASED = "released"
    """The lease was given back and the endpoints are gone."""


FINAL = frozenset({RegistrationState.SUPERSEDED, RegistrationState.FAILED, RegistrationState.RELEASED})
"""States that never change again."""


class LeaseHolder:
    """Opens a lease and holds it until it is released.

    A stream that is lost is opened again with the lease's key, with jittered back-off; the endpoints are not written
    again then, so that what an operator changed on them stays. If the lease is gone, a new one is opened and the
    endpoints are registered under it. Where only the connection is replaced, the stream is opened anew before the old
    one is closed: the lease is held all the while.

    Attributes:
        state: how it is.
        key: key of the lease; empty while there is none.
        error: why it failed for good, or was last lost. None while all is well.

    Args:
        link: to the kernel.
        settings: of the client.
        endpoints: what to register. What changes in them counts when a new lease has to be opened.
        ttl: how long, in seconds, the lease outlives its stream; None for the kernel's default.
        allow_missing_service: create services that are not there.
    """

    def __init__(
        self,
        link: Link,
        settings: Settings,
        endpoints: Sequence[Endpoint],
        *,
        ttl: float | None,
        allow_missing_service: bool,
    ) -> None:
        self.state = RegistrationState.REGISTERING
        self.key = ""
        self.error: SiraError | None = None
        self._link = link
        self._settings = settings
        self._endpoints = endpoints
        self._ttl = ttl
        self._allow_missing_service = allow_missing_service
        self._stream: LeaseStream | None = None
        self._tried = False
        self._was_held = False
        self._release = asyncio.Event()
        self._change = asyncio.Event()

    async def changed(self) -> None:
        """Waits for the next change of the state."""
        await self._change.wait()

    def release(self) -> None:
        """Asks for the lease to be given back: then `run` ends."""
        self._release.set()

    async def run(self) -> None:
        """Holds the lease until it is released or lost for good: `state` and `error` say which."""
        backoff = self._settings.backoff()
        try:
            while self.state not in FINAL:
                member = self._link.member
                lost = await self._hold(member, backoff)
                if lost is not None and not self._release.is_set():
                    await self._recover(member, lost, backoff)
                if self._release.is_set() and self.state not in FINAL:
                    if lost is not None:
                        await self._revoke()
                    self._become(RegistrationState.RELEASED, None)
        finally:
            await self._replace(None)

    async def _hold(self, member: Member, backoff: Backoff) -> SiraError | None:
        """Opens a stream and stays on it. Returns why it was lost or left, or None if the lease was given back."""
        stream = LeaseStream(member)
        try:
            async with asyncio.timeout(self._settings.default_timeout):
                response = await self._attach(stream)
            if response is None:
                return UnavailableError("the lease is to be released")
            backoff.reset()
            self.key = response.lease_key or self.key
            self._was_held = True
            await self._replace(stream)
            self._become(RegistrationState.HELD, None)
            return await self._stay(stream)
        except TimeoutError:
            return DeadlineExceededError("the kernel did not answer on the stream of the lease")
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure)
        finally:
            if stream is not self._stream:
                await stream.close()

    async def _attach(self, stream: LeaseStream) -> HoldLeaseResponse | None:
        """Attaches a stream, and returns what it is answered; None if the release is asked for first.

        A stream that takes over from another one is not given up: broken off half-way, the lease would be nobody's.
        """
        attaching = stream.attach(self._first_request())
        if self._holding:
            return await attaching
        return await self._unless_released(asyncio.create_task(attaching))

    @property
    def _holding(self) -> bool:
        return self._stream is not None and self._stream.holds

    async def _replace(self, stream: LeaseStream | None) -> None:
        """Goes on with another stream: only then the one before is closed, so that the lease is held all the while."""
        before, self._stream = self._stream, stream
        if before is not None:
            await before.close()

    async def _stay(self, stream: LeaseStream) -> SiraError | None:
        """Keeps the stream open until it is lost, or its connection replaced, or until the lease is to be released.

        Raises:
            grpc.aio.AioRpcError: the stream was lost.
            TimeoutError: the kernel did not confirm the release in time.
        """
        ended = asyncio.create_task(stream.ended())
        released = asyncio.create_task(self._release.wait())
        try:
            waiting: set[asyncio.Future[Any]] = {ended, released, stream.member.replaced}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                await ended
                return UnavailableError("the kernel ended the stream of the lease")
            if not released.done():
                return _REPLACED
            async with asyncio.timeout(self._settings.default_timeout):
                await stream.release()
            return None
        finally:
            await drop(ended, released)

    async def _recover(self, member: Member, lost: SiraError, backoff: Backoff) -> None:
        """Decides what to do next, and waits before it is done."""
        if lost is _REPLACED:
            return
        if not self._holding:
            self._settle(lost)
        self._link.leave(member)
        await self._pause(backoff.next(lost.retry_after))

    async def _unless_released(self, task: asyncio.Task[T]) -> T | None:
        """Waits for a task and returns its result; None, with the task cancelled, if the release is asked for first."""
        released = asyncio.create_task(self._release.wait())
        try:
            await asyncio.wait({task, released}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            await drop(task, released)

    async def _pause(self, delay: float) -> None:
        """Waits before the next attempt, if there is to be one."""
        if self.state not in FINAL:
            await self._unless_released(asyncio.create_task(self._settings.clock.sleep(delay)))

    async def _revoke(self) -> None:
        """Gives the lease back without a stream. If that fails too, it ends with its TTL."""
        if not self.key:
            return
        try:
            await self._link.member.registry.RevokeLease(
                RevokeLeaseRequest(lease_key=self.key), timeout=self._settings.default_timeout
            )
        except grpc.aio.AioRpcError as failure:
            _log.warning("the lease could not be given back, and ends with its TTL: %s", from_rpc_error(failure))

    def _first_request(self) -> HoldLeaseRequest:
        if self.key:
            return HoldLeaseRequest(lease_key=self.key)
        request = HoldLeaseRequest(endpoints=self._endpoints, allow_missing_service=self._allow_missing_service)
        if self._ttl is not None:
            request.lease_ttl.FromNanoseconds(round(self._ttl * 1e9))
        return request

    def _settle(self, lost: SiraError) -> None:
        """Decides what a lost stream means."""
        if lost.reason == "LEASE_SUPERSEDED":
            _log.warning("somebody else took the lease over: %s", lost)
            self._become(RegistrationState.SUPERSEDED, lost)
        elif self._was_held:
            if lost.reason in _KEY_IS_VOID:
                self.key = ""
            if self.state is RegistrationState.HELD:
                _log.warning("the stream of the lease was lost, and will be opened again: %s", lost)
            self._become(RegistrationState.RECONNECTING, lost)
        elif self._link.may_pass(lost) or (self._tried and lost.reason == "ENDPOINT_HELD"):
            # An attempt whose answer was lost may have registered the endpoints, under a lease that nobody holds.
            self._tried = True
            self._become(RegistrationState.REGISTERING, lost)
        else:
            self._become(RegistrationState.FAILED, lost)

    def _become(self, state: RegistrationState, error: SiraError | None) -> None:
        if (state, error) == (self.state, self.error):
            return
        self.state, self.error = state, error
        change, self._change = self._change, asyncio.Event()
        change.set()
