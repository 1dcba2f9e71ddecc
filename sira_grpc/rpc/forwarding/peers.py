"""The connections to the other members: made when they are needed, closed when a member is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from grpc import aio

from sira_grpc.config import ServerConfig
from sira_grpc.placement import Placement
from sira_grpc.rpc.forwarding.peer_connection import PeerConnection
from sira_grpc.rpc.forwarding.peer_credentials import PeerCredentials

CONNECT_SECONDS = 1.0
"""How long one attempt to connect may take: then it is asked again whose the work is."""
PARTING_SECONDS = 1.0
"""How long the calls at a member may go on once it takes no work any more: one that stops ends them itself by then."""
_PING_MARGIN = 0.5
_PING_TIMEOUT = 2.0
_UNIX = "unix:"


class Members(Placement, Protocol):
    """Placement that also names who is live."""

    @property
    def live(self) -> frozenset[str]:
        """The members that take work; this one too, if it does."""


class Addresses(Protocol):
    """Where members are reached."""

    def of(self, member: str) -> Sequence[str]:
        """Returns the addresses of a member, `host:port` or `unix:path`; none if it is not known."""


def peer_options(server: ServerConfig, server_name: str) -> list[tuple[str, int | str]]:
    """Returns the channel arguments of a connection to another member.

    Pings keep to the interval that servers allow: faster ones would end the connection with `too_many_pings`. A member
    that hangs is noticed sooner than by them, by its heartbeats, and a broken network as soon as something is sent,
    by TCP_USER_TIMEOUT, which gRPC sets to the time-out of pings.
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.enable_http_proxy", 0),
        # Calls are repeated here, where it is known whether they were executed.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),
        # Responses of the owner go on as they are, whatever their size: the client has its own limit.
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", round((server.min_ping_interval + _PING_MARGIN) * 1000)),
        ("grpc.keepalive_timeout_ms", round(_PING_TIMEOUT * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", round(CONNECT_SECONDS * 1000)),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return options


class _Peer:
    """One other member: a connection, at most, to each of its addresses, of which one is in use."""

    def __init__(self, addresses: Sequence[str], connect: Callable[[str], PeerConnection]) -> None:
        self._addresses = addresses
        self._connect = connect
        self._connections: dict[str, PeerConnection] = {}
        self._at = 0

    def connection(self, credentials: object) -> PeerConnection:
        """Returns the connection in use, made with credentials that count now."""
        address = self._addresses[self._at]
        known = self._connections.get(address)
        if known is None or known.credentials is not credentials:
            if known is not None:
                known.retire()
            known = self._connections[address] = self._connect(address)
        return known

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return all(connection.idle for connection in self._connections.values())

    def next(self) -> None:
        """Goes on to the next address: this one does not answer."""
        self._at = (self._at + 1) % len(self._addresses)

    def retire(self) -> None:
        """Closes the connections once their calls are over."""
        for connection in self._connections.values():
            connection.retire()

    def cut(self) -> None:
        """Closes the connections at once."""
        for connection in self._connections.values():
            connection.cut()


class Peers:
    """Hands out connections to other members.

    Args:
        placement: says who is live.
        addresses: says where they are.
        credentials: what connections are made with.
        server: how members serve.
    """

    def __init__(
        self, placement: Members, addresses: Addresses, credentials: PeerCredentials, server: ServerConfig
    ) -> None:
        self._placement = placement
        self._addresses = addresses
        self._credentials = credentials
        self._options = peer_options(server, credentials.server_name)
        self._peers: dict[str, _Peer] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._leaving: dict[_Peer, asyncio.TimerHandle] = {}
        placement.changed.append(self._changed)

    @property
    def others(self) -> frozenset[str]:
        """The other live members."""
        return self._placement.live - {self._placement.member}

    async def reach(self, member: str, patience: float) -> PeerConnection | None:
        """Returns a connection to a member that stands, as far as is known; None if there is none within `patience`.

        An attempt that fails is not repeated: the next call tries the next address.
        """
        peer = self._peer(member)
        if peer is None:
            return None
        connection = peer.connection(self._credentials.current())
        if connection.ready:
            return connection
        try:
            async with asyncio.timeout(min(patience, CONNECT_SECONDS)):
                connected = await connection.connect()
        except TimeoutError:
            connected = False
        if connected and not connection.retired:  # it may have been meanwhile
            return connection
        peer.next()
        return None

    def _peer(self, member: str) -> _Peer | None:
        peer = self._peers.get(member)
        if peer is None and (addresses := self._usable(member)):
            peer = self._peers[member] = _Peer(addresses, self._open)
        return peer

    def _usable(self, member: str) -> list[str]:
        """Its addresses: Unix sockets, which are plaintext, only where members speak plaintext."""
        plain = self._credentials.current() is None
        return [address for address in self._addresses.of(member) if plain or not address.startswith(_UNIX)]

    def _open(self, address: str) -> PeerConnection:
        credentials = self._credentials.current()
        if credentials is None:
            channel = aio.insecure_channel(address, options=self._options)
        else:
            channel = aio.secure_channel(address, credentials, options=self._options)
        return PeerConnection(channel, credentials, self._close_channel)

    def _changed(self) -> None:
        """Lets go of members that take no work any more: their calls have a while to end."""
        for member in self._peers.keys() - self.others:
            peer = self._peers.pop(member)
            peer.retire()
            self._part_later(member, peer)

    def _part_later(self, member: str, peer: _Peer) -> None:
        loop = asyncio.get_running_loop()
        self._leaving[peer] = loop.call_later(PARTING_SECONDS, self._part, member, peer)

    def _part(self, member: str, peer: _Peer) -> None:
        """Cuts what is left, unless the member was only slow and is there again."""
        if member in self.others and not peer.idle:
            self._part_later(member, peer)
            return
        del self._leaving[peer]
        peer.cut()

    def _close_channel(self, channel: aio.Channel) -> None:
        task = asyncio.get_running_loop().create_task(channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Cuts every connection and waits for that."""
        if self._changed in self._placement.changed:
            self._placement.changed.remove(self._changed)
        for peer, timer in self._leaving.items():
            timer.cancel()
            peer.cut()
        for peer in self._peers.values():
            peer.cut()
        self._leaving.clear()
        self._peers.clear()
        while self._closing:
            await asyncio.gather(*self._closing)
