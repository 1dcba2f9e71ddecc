"""The gRPC connections that probes keep: one for each address, shared by the endpoints that live there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2
from sira.registry.v1.endpoint_pb2 import Endpoint

from sira_grpc.probes.dialing import host_port, is_ip
from sira_grpc.probes.trust import GrpcTrust

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # A new channel is a new connection, not one that another channel has or waits with.
    ("grpc.use_local_subchannel_pool", 1),
    # Thousands of probing channels would bury those of the server in channelz, and cost 3 KB each.
    ("grpc.enable_channelz", 0),
    ("grpc.max_channel_trace_event_memory_per_node", 0),
    ("grpc.max_receive_message_length", 4096),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a check connects to."""

    address: str
    port: int
    tls: bool
    server_name: str = ""
    """The name that the certificate must carry; empty for the address."""

    @classmethod
    def of(cls, endpoint: Endpoint, server_name: str = "") -> Target:
        """Returns the target of an endpoint with a gRPC check."""
        check = endpoint.health_check.grpc
        return cls(endpoint.addresses[0], check.port or endpoint.port, check.tls, server_name if check.tls else "")

    def __str__(self) -> str:
        """As gRPC takes it."""
        scheme = ("ipv6:" if ":" in self.address else "ipv4:") if is_ip(self.address) else "dns:///"
        return scheme + host_port(self.address, self.port)


class Connection:
    """A channel to one target with the methods of grpc.health.v1. It is entered for as long as a call is under way."""

    __slots__ = ("_calls", "_channel", "_close", "_retired", "can_watch", "check", "target", "users", "watch")

    def __init__(self, target: Target, channel: grpc.aio.Channel, close: Callable[[grpc.aio.Channel], None]) -> None:
        self.target = target
        self._channel = channel
        self._close = close
        self._calls = 0
        self._retired = False
        self.users: set[str] = set()
        """Names of the endpoints that it is kept for."""
        self.can_watch = True
        """Whether the server has Watch, as far as is known."""
        self.check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        self.watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    def __enter__(self) -> Connection:
        """A call begins."""
        self._calls += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """A call is done."""
        self._calls -= 1
        self._close_if_unused()

    def retire(self) -> None:
        """Closes it as soon as its calls are done."""
        if not self._retired:
            self._retired = True
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._retired and self._calls == 0:
            self._close(self._channel)


class Channels:
    """Hands out connections, and retires them when a call fails or their last endpoint goes.

    Retiring on failure makes the next probe connect anew: no reconnect back-off hides a recovery, nothing reconnects
    in the background, and a connection that is dead without knowing does not hide that new ones work.

    Args:
        trust: for those with TLS.
    """

    def __init__(self, trust: GrpcTrust) -> None:
        self._trust = trust
        self._connections: dict[Target, Connection] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Connections that are handed out."""
        return len(self._connections)

    def has(self, endpoint: Endpoint) -> bool:
        """Says whether there is a connection that `get` would return."""
        return self._target(endpoint) in self._connections

    def get(self, endpoint: Endpoint) -> Connection:
        """Returns the connection for an endpoint, which keeps it until it is released."""
        target = self._target(endpoint)
        connection = self._connections.get(target)
        if connection is None:
            connection = self._connections[target] = Connection(target, self._open(target), self._close_channel)
        connection.users.add(endpoint.name)
        return connection

    def retire(self, connection: Connection) -> None:
        """Hands a connection out no more."""
        if self._connections.get(connection.target) is connection:
            del self._connections[connection.target]
        connection.retire()

    def release(self, endpoint: Endpoint) -> None:
        """Keeps nothing for an endpoint any more."""
        connection = self._connections.get(self._target(endpoint))
        if connection is not None:
            connection.users.discard(endpoint.name)
            if not connection.users:
                self.retire(connection)

    async def close(self) -> None:
        """Closes every connection and waits for that."""
        for connection in list(self._connections.values()):
            self.retire(connection)
        await asyncio.gather(*self._closing)

    def _target(self, endpoint: Endpoint) -> Target:
        return Target.of(endpoint, self._trust.server_name(endpoint) if endpoint.health_check.grpc.tls else "")

    def _open(self, target: Target) -> grpc.aio.Channel:
        if target.tls:
            named = [("grpc.ssl_target_name_override", target.server_name)] if target.server_name else []
            return grpc.aio.secure_channel(str(target), self._trust.credentials(), options=[*_OPTIONS, *named])
        return grpc.aio.insecure_channel(str(target), options=_OPTIONS)

    def _close_channel(self, channel: grpc.aio.Channel) -> None:
        task = asyncio.get_running_loop().create_task(channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
