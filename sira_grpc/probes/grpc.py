"""The gRPC probe: asks grpc.health.v1 by Check, and follows its Watch where the server has it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator

import grpc
from grpc_health.v1 import health_pb2
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.probes.causes import bad, connection_failed, no_answer
from sira_grpc.probes.channels import Channels, Connection, Target
from sira_grpc.probes.dialing import Dialer
from sira_grpc.probes.trust import GrpcTrust
from sira_grpc.registry.probe_api import ProbeResult, probe_timeout

_STATES = {
    health_pb2.HealthCheckResponse.SERVING: HealthState.HEALTH_STATE_SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: HealthState.HEALTH_STATE_NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN: HealthState.HEALTH_STATE_NOT_SERVING,
}
_CANNOT_TELL = {
    grpc.StatusCode.UNIMPLEMENTED: "server has no grpc.health.v1",
    grpc.StatusCode.UNAUTHENTICATED: "server does not tell: UNAUTHENTICATED",
    grpc.StatusCode.PERMISSION_DENIED: "server does not tell: PERMISSION_DENIED",
}
_UNAVAILABLE = (
    ("connection refused", "connection refused"),
    ("dns resolution failed", "host name cannot be resolved"),
    ("domain name not found", "host name cannot be resolved"),
    ("certificate", "certificate not trusted"),
    ("handshake", "TLS handshake failed"),
    ("http1", "not a gRPC server"),
    ("no route to host", "host unreachable"),
    ("network is unreachable", "network unreachable"),
    ("socket closed", "connection reset"),
    ("connection reset", "connection reset"),
)
"""gRPC has one status for all of these; what happened is in its text only."""
_OWN_LIMIT = os.strerror(errno.EMFILE).lower()


class GrpcProbe:
    """Asks servers by grpc.health.v1, over connections that are kept.

    Args:
        dialer: opens connections to see whether that is possible.
        trust: for those with TLS.
    """

    def __init__(self, dialer: Dialer, trust: GrpcTrust) -> None:
        self._dialer = dialer
        self._channels = Channels(trust)

    async def probe(self, endpoint: Endpoint) -> ProbeResult:
        """See Prober."""
        limit = probe_timeout(endpoint.health_check)
        deadline = asyncio.get_running_loop().time() + limit
        if not self._channels.has(endpoint):
            failure = await self._knock(endpoint, limit)
            if failure is not None:
                return failure
        left = deadline - asyncio.get_running_loop().time()
        service = endpoint.health_check.grpc.service
        with self._channels.get(endpoint) as connection:
            try:
                response = await connection.check(health_pb2.HealthCheckRequest(service=service), timeout=left)
            except grpc.aio.AioRpcError as error:
                return self._failed(connection, error, service, limit)
        return _told(response.status, service)

    async def _knock(self, endpoint: Endpoint, limit: float) -> ProbeResult | None:
        """Returns why no connection can be made; None if one can.

        A channel costs ten times what a bare connection does, and says less of what went wrong: none is made for
        an endpoint that is not there.
        """
        target = Target.of(endpoint)
        timeout = asyncio.timeout(limit)
        try:
            async with timeout:
                transport, _ = await self._dialer.dial(asyncio.Protocol, target.address, target.port)
        except OSError as error:
            return no_answer(limit) if timeout.expired() else connection_failed(error)
        transport.close()
        return None

    def follow(self, endpoint: Endpoint) -> AsyncGenerator[ProbeResult, None] | None:
        """See Prober."""
        connection = self._channels.get(endpoint)
        if not connection.can_watch:
            return None
        # The stream lives long: it is handed what it needs of the endpoint, not the endpoint.
        return _watch(connection, endpoint.health_check.grpc.service, probe_timeout(endpoint.health_check))

    def release(self, endpoint: Endpoint) -> None:
        """See Prober."""
        self._channels.release(endpoint)

    async def close(self) -> None:
        """See Prober."""
        await self._channels.close()

    def _failed(self, connection: Connection, error: grpc.aio.AioRpcError, service: str, timeout: float) -> ProbeResult:
        code = error.code()
        if code in _CANNOT_TELL:
            connection.can_watch = False
            return ProbeResult(HealthState.HEALTH_STATE_UNKNOWN, _CANNOT_TELL[code], authoritative=True)
        if code is grpc.StatusCode.NOT_FOUND:
            return _told(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN, service)
        self._channels.retire(connection)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return no_answer(timeout)
        if code is not grpc.StatusCode.UNAVAILABLE:
            return bad(f"server answers {code.name}")
        details = (error.details() or "").lower()
        if _OWN_LIMIT in details:
            return connection_failed(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        return bad(next((cause for text, cause in _UNAVAILABLE if text in details), "server answers UNAVAILABLE"))


async def _watch(connection: Connection, service: str, first_within: float) -> AsyncGenerator[ProbeResult, None]:
    with connection:
        call = connection.watch(health_pb2.HealthCheckRequest(service=service))
        try:
            async with asyncio.timeout(first_within):
                response = await call.read()
            while isinstance(response, health_pb2.HealthCheckResponse):
                yield _told(response.status, service)
                response = await call.read()
        except TimeoutError:
            return
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                connection.can_watch = False
        finally:
            call.cancel()


def _told(status: int, service: str) -> ProbeResult:
    """Returns what a server says of itself."""
    if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
        cause = f"server does not know service {service!r}"
    else:
        cause = f"server says {_name(status)}"
    return ProbeResult(_STATES.get(status, HealthState.HEALTH_STATE_UNKNOWN), cause, authoritative=True)


def _name(status: int) -> str:
    known = health_pb2.HealthCheckResponse.ServingStatus.values()
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status) if status in known else str(status)
