"""The connection to a kernel: to one of its members, and to another where that one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import grpc
from sira.registry.v1 import resolver_service_pb2
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from sira_client.addresses import grpc_target
from sira_client.dialing import RECONNECT
from sira_client.errors import from_rpc_error
from sira_client.routing import CallInfo, RetryPolicy, Route, RoutedChannel
from sira_client.settings import Settings

_OPTIONS = (
    *RECONNECT,
    # A kernel that is gone is found out within 15 s, even while nothing is sent.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_RESOLVER = resolver_service_pb2.DESCRIPTOR.services_by_name["ResolverService"]
_READS = frozenset(f"/{_RESOLVER.full_name}/{method.name}" for method in _RESOLVER.methods)


class Member:
    """One address of the kernel, as a route. It is connected when first used."""

    def __init__(self, link: Link, address: str, channel: grpc.aio.Channel) -> None:
        self._link = link
        self.address = address
        self.channel = channel
        self.registry = RegistryServiceStub(channel)
        self.resolver = ResolverServiceStub(channel)

    def carry(self, call: grpc.aio.Call) -> None:
        """See Route: nothing to count here."""

    def failed(self) -> None:
        """Says that nobody answered here: who comes next goes to the next address."""
        self._link.leave(self)


class Link:
    """The members of a kernel, one of which is the current one.

    Args:
        addresses: of the members; the first one used is drawn at random, so that clients spread.
        credentials: for TLS; None for plaintext.
        settings: of the client.
    """

    def __init__(
        self, addresses: Sequence[str], credentials: grpc.ChannelCredentials | None, settings: Settings
    ) -> None:
        self.members = [Member(self, address, _open(address, credentials)) for address in addresses]
        self._current = settings.random.randrange(len(self.members))

    @property
    def member(self) -> Member:
        """The member to talk to now."""
        return self.members[self._current]

    def leave(self, member: Member) -> None:
        """Moves on to the next member, if this is still the current one."""
        if member is self.member:
            self._current = (self._current + 1) % len(self.members)

    async def route(self, info: CallInfo, tried: Collection[Route]) -> Route | None:
        """See Router: the current member, or else the next one that has not been tried."""
        for step in range(len(self.members)):
            member = self.members[(self._current + step) % len(self.members)]
            if member not in tried:
                return member
        return None

    async def close(self) -> None:
        """Closes the connections."""
        await asyncio.gather(*(member.channel.close() for member in self.members))


class KernelChannel(RoutedChannel):
    """A channel for unary calls to whichever member is there, with a default deadline and typed errors.

    A call that reached nobody goes on to the next member, and so does a read that failed with UNAVAILABLE. A write
    that may have been seen is never sent again. With one member nothing is: the caller learns at once.
    """

    def __init__(self, link: Link, settings: Settings) -> None:
        retry = RetryPolicy(max_attempts=len(link.members), idempotent=_READS)
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


def _open(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    target = grpc_target(address)
    if credentials is None:
        return grpc.aio.insecure_channel(target, _OPTIONS)
    return grpc.aio.secure_channel(target, credentials, _OPTIONS)
