"""Holds one lease, with the endpoints under it, through lost connections and kernel restarts."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import grpc
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest, HoldLeaseResponse, RevokeLeaseRequest

from sira_client.backoff import Backoff
from sira_client.errors import DeadlineExceededError, SiraError, UnavailableError, from_rpc_error
from sira_client.link import Link, Member
from sira_client.settings import Settings
from sira_client.watch import PASSING

_log = logging.getLogger(__name__)

_KEY_IS_VOID = frozenset({"LEASE_NOT_FOUND", "LEASE_NOT_YOURS"})

T = TypeVar("T")
HoldLeaseCall: TypeAlias = grpc.aio.StreamStreamCall[HoldLeaseRequest, HoldLeaseResponse]


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
    endpoints are registered under it.

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
        while self.state not in FINAL:
            member = self._link.member
            lost = await self._hold(member, backoff)
            if lost is not None and not self._release.is_set():
                self._settle(lost)
                self._link.leave(member)
                await self._pause(backoff.next(lost.retry_after))
            if self._release.is_set() and self.state not in FINAL:
                if lost is not None:
                    await self._revoke()
                self._become(RegistrationState.RELEASED, None)

    async def _hold(self, member: Member, backoff: Backoff) -> SiraError | None:
        """Opens a stream and stays on it. Returns why it was lost, or None if the lease was given back."""
        call = member.registry.HoldLease()
        try:
            with suppress(asyncio.InvalidStateError):  # the call is over already: reading says why
                await call.write(self._first_request())
            async with asyncio.timeout(self._settings.default_timeout):
                response = await self._unless_released(asyncio.create_task(call.read()))
            if not isinstance(response, HoldLeaseResponse):
                return UnavailableError("the kernel ended the stream of the lease")
            backoff.reset()
            self.key = response.lease_key or self.key
            self._was_held = True
            self._become(RegistrationState.HELD, None)
            return await self._stay(call)
        except TimeoutError:
            return DeadlineExceededError("the kernel did not answer on the stream of the lease")
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure)
        finally:
            call.cancel()

    async def _stay(self, call: HoldLeaseCall) -> SiraError | None:
        """Keeps the stream open until it is lost, or the lease is to be released: then closes it in good order.

        Raises:
            grpc.aio.AioRpcError: the stream was lost.
            TimeoutError: the kernel did not confirm the release in time.
        """
        ended = asyncio.create_task(_end(call))
        released = asyncio.create_task(self._release.wait())
        try:
            await asyncio.wait({ended, released}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await call.done_writing()
                async with asyncio.timeout(self._settings.default_timeout):
                    await ended
                return None
            await ended
            return UnavailableError("the kernel ended the stream of the lease")
        finally:
            await _drop(ended, released)

    async def _unless_released(self, task: asyncio.Task[T]) -> T | None:
        """Waits for a task and returns its result; None, with the task cancelled, if the release is asked for first."""
        released = asyncio.create_task(self._release.wait())
        try:
            await asyncio.wait({task, released}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            await _drop(task, released)

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
        elif lost.status in PASSING or (self._tried and lost.reason == "ENDPOINT_HELD"):
            # An attempt whose answer was lost may have registered the endpoints, under a lease that nobody holds.
            self._tried = True
            self._become(RegistrationState.REGISTERING, lost)
        else:
            self._become(RegistrationState.FAILED, lost)

    def _become(self, state: RegistrationState, error: SiraError | None) -> None:
        self.state, self.error = state, error
        change, self._change = self._change, asyncio.Event()
        change.set()


async def _end(call: HoldLeaseCall) -> None:
    """Reads a stream to its end."""
    while await call.read() is not grpc.aio.EOF:
        _log.debug("the kernel sent a response that answers no request")


async def _drop(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks and waits for their end, whatever it is."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
