"""The TCP probe: an endpoint that accepts a connection is well."""

from __future__ import annotations

import asyncio

from sira.registry.v1.endpoint_pb2 import Endpoint

from sira_grpc.probes.causes import connection_failed, good, no_answer
from sira_grpc.probes.dialing import Dialer
from sira_grpc.registry.probe_api import ProbeResult, probe_timeout

_ACCEPTED = good("accepts connections")


class TcpProbe:
    """Connects and closes."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer

    async def probe(self, endpoint: Endpoint) -> ProbeResult:
        """See Prober."""
        check = endpoint.health_check
        timeout = asyncio.timeout(probe_timeout(check))
        try:
            async with timeout:
                transport, _ = await self._dialer.dial(
                    asyncio.Protocol, endpoint.addresses[0], check.tcp.port or endpoint.port
                )
        except OSError as error:
            return no_answer(probe_timeout(check)) if timeout.expired() else connection_failed(error)
        transport.close()
        return _ACCEPTED
