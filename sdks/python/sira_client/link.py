"""The connection to a kernel: to one of its members, and to another where that one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import grpc
from sira.cluster.v1 import election_service_pb2, lock_service_pb2
from sira.registry.v1 import resolver_service_pb2
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from sira_client.addresses import grpc_target
from sira_client.dialing import Dial
from sira_client.errors import PASSING, SiraError, from_rpc_error
from sira_client.first_of import drop, first_of
from sira_client.routing import CallInfo, RetryPolicy, Route, RoutedChannel
from sira_client.settings import Settings
from sira_client.source import Source

RETIRE_SECONDS = 300.0
"""How long calls may go on over a connection that was replaced, at most."""

_READY = grpc.ChannelConnectivity.READY
_SERVICES = (
    resolver_service_pb2.DESCRIPTOR.services_by_name["ResolverService"],
    lock_service_pb2.DESCRIPTOR.services_by_name["LockService"],
    election_service_pb2.DESCRIPTOR.services_by_name["ElectionService"],
)
_READS = frozenset(
    f"/{service.full_name}/{method.name}"
    for service in _SERVICES
    for method in service.methods
    if service is _SERVICES[0] or method.name.startswith(("Get", "List"))
)

C = TypeVar("C", bound=grpc.aio.Call)


class Member:
    """One address of the kernel over one connection, as a route. It is connected when first used.

    Attributes:
        replaced: done once another connection has taken the place of this one. Streams are to move there then.
    """

    def __init__(self, link: Link, address: str, channel: grpc.aio.Channel) -> None:
        self._link = link
        self.address = address
        self.channel = channel
        self.registry = RegistryServiceStub(channel)
        self.resolver = ResolverServiceStub(channel)
        self.replaced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def carry(self, call: grpc.aio.Call) -> None:
        """See Route: counts the call until it ends, if this connection may be replaced."""
        if self._link.renews:
            self._calls += 1
            self._idle.clear()
            call.add_done_callback(self._finished)

    def carrying(self, call: C) -> C:
        """Does the same with a call that takes no router's route."""
        self.carry(call)
        return call

    def failed(self) -> None:
        """Says that nobody answered here: who comes next goes to the next address."""
        self._link.leave(self)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self.channel.get_state() is _READY

    async def ready(self) -> None:
        """Connects, and waits until that is done."""
        while (state := self.channel.get_state(try_to_connect=True)) is not _READY:
            await self.channel.wait_for_state_change(state)

    async def not_ready(self) -> None:
        """Waits until there is no connection here."""
        while (state := self.channel.get_state()) is _READY:
            await self.channel.wait_for_state_change(state)

    async def left(self) -> None:
        """Waits until another connection has taken the place of this one."""
        await asyncio.shield(self.replaced)

    async def retire(self, grace: float) -> None:
        """Lets the calls that are under way finish within the grace in seconds, and closes."""
        try:
            with suppress(TimeoutError):  # when the grace is over, closing cancels what is left
                async with asyncio.timeout(grace):
                    await self._idle.wait()
        finally:
            await self.channel.close()

    def _finished(self, _: object) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()


class Link:
    """The members of a kernel, one of which is the current one.

    Args:
        addresses: of the members; the first one used is drawn at random, so that clients spread.
        dial: opens a connection, with the credentials of the moment.
        settings: of the client.
        renewed: when it changes, each connection is replaced by a new one: as soon as that is up, or at once where the
            old one is not. None for never.
    """

    def __init__(
        self, addresses: Sequence[str], dial: Dial, settings: Settings, renewed: Source[Any] | None = None
    ) -> None:
        self._dial = dial
        self.members = [self._open(address) for address in addresses]
        self._current = settings.random.randrange(len(self.members))
        self.renews = renewed is not None
        self._retiring: dict[asyncio.Task[None], Member] = {}
        self._renewing: list[asyncio.Task[None]] = []
        if renewed is not None:
            known, loop = renewed.current, asyncio.get_running_loop()
            self._renewing = [loop.create_task(self._renew(i, renewed, known)) for i in range(len(addresses))]

    @property
    def member(self) -> Member:
        """The member to talk to now."""
        return self.members[self._current]

    def leave(self, member: Member) -> None:
        """Moves on to the next member, if this is still the current one."""
        if member is self.member:
            self._current = (self._current + 1) % len(self.members)

    def may_pass(self, error: SiraError) -> bool:
        """Whether what failed may go well if it is tried again: also with an expired certificate that is renewed."""
        return error.status in PASSING or (self.renews and error.reason == "CREDENTIAL_EXPIRED")

    async def route(self, info: CallInfo, tried: Collection[Route]) -> Route | None:
        """See Router: the current member, or else the next one that has not been tried."""
        for step in range(len(self.members)):
            member = self.members[(self._current + step) % len(self.members)]
            if member not in tried:
                return member
        return None

    async def close(self) -> None:
        """Closes the connections."""
        await drop(*self._renewing)
        left = [*self._retiring.values(), *self.members]
        await drop(*self._retiring)
        await asyncio.gather(*(member.channel.close() for member in left))

    def _open(self, address: str) -> Member:
        return Member(self, address, self._dial(grpc_target(address)))

    async def _renew(self, position: int, renewed: Source[Any], known: object) -> None:
        """Replaces the connection of one member at each change."""
        while True:
            known = await renewed.changed(known)
            old = self.members[position]
            fresh = self._open(old.address)
            try:
                if old.connected:
                    await first_of(fresh.ready(), old.not_ready(), renewed.changed(known))
            except BaseException:
                await fresh.channel.close()
                raise
            if renewed.current != known:
                await fresh.channel.close()
                continue
            self.members[position] = fresh
            old.replaced.set_result(None)
            retiring = asyncio.get_running_loop().create_task(old.retire(RETIRE_SECONDS))
            self._retiring[retiring] = old
            retiring.add_done_callback(self._retiring.pop)


class KernelRetry(RetryPolicy):
    """When a call to a kernel goes again.

    A kernel says of some refusals that nothing was done, and when it is worthwhile to try again: while its store has no
    leader, and while work moves to another member. Such calls go again until their deadline.
    """

    def pause(self, error: grpc.aio.AioRpcError) -> float | None:
        """See RetryPolicy."""
        refusal = from_rpc_error(error)
        undone = {"STORE_UNAVAILABLE": ("outcome", "none"), "NOT_OWNER": ("executed", "no")}.get(refusal.reason)
        if undone is None or refusal.metadata.get(undone[0]) != undone[1]:
            return None
        return refusal.retry_after


class KernelChannel(RoutedChannel):
    """A channel for unary calls to whichever member is there, with a default deadline and typed errors.

    A call that reached nobody goes on to the next member, and so does a read that failed with UNAVAILABLE. A write
    that may have been seen is sent again only if the kernel says that nothing was done: see KernelRetry.
    """

    def __init__(self, link: Link, settings: Settings) -> None:
        retry = KernelRetry(max_attempts=len(link.members), idempotent=_READS)
        super().__init__(link, retry=retry, default_timeout=settings.default_timeout, translate=from_rpc_error)
        self._link = link

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See grpc.aio.Channel: of the current member."""
        return self._link.member.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio.Channel: of the current member."""
        await self._link.member.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See grpc.aio.Channel: of the current member."""
        await self._link.member.channel.channel_ready()
