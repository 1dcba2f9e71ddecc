"""The HTTP probe: one GET, of which only the head of the answer is read; redirects are not followed."""

from __future__ import annotations

import asyncio
import ssl

import httptools
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HttpCheck

from sira_grpc.probes.causes import bad, connection_failed, good, no_answer
from sira_grpc.probes.dialing import Dialer, host_port
from sira_grpc.registry.probe_api import ProbeResult, probe_timeout

HEAD_LIMIT = 64 << 10
"""Bytes of an answer, at most, in which its head must end."""


class HttpProbe:
    """GETs a path over HTTP/1.1 on a connection of its own and looks at the status."""

    def __init__(self, dialer: Dialer, tls: ssl.SSLContext) -> None:
        self._dialer = dialer
        self._tls = tls

    async def probe(self, endpoint: Endpoint) -> ProbeResult:
        """See Prober."""
        check = endpoint.health_check.http
        limit = probe_timeout(endpoint.health_check)
        timeout = asyncio.timeout(limit)
        try:
            async with timeout:
                status = await self._get(endpoint.addresses[0], check.port or endpoint.port, check)
        except OSError as error:
            return no_answer(limit) if timeout.expired() else connection_failed(error)
        except _BadAnswer as error:
            return bad(str(error))
        wanted = (check.min_status or 200) <= status <= (check.max_status or 299)
        return good(f"HTTP {status}") if wanted else bad(f"HTTP {status}")

    async def _get(self, address: str, port: int, check: HttpCheck) -> int:
        transport, answer = await self._dialer.dial(
            _Answer,
            address,
            port,
            tls=self._tls if check.tls else None,
            server_name=check.host.partition(":")[0] or None,
        )
        try:
            transport.write(_request(address, port, check))
            return await answer.status
        finally:
            transport.abort()


class _BadAnswer(Exception):
    """The answer is not one of HTTP/1.1."""


class _Answer(asyncio.Protocol):
    """Takes the status from the head of the answer."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._left = HEAD_LIMIT
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data[: self._left])
        except httptools.HttpParserUpgrade:
            return  # the head is complete, which has been noted
        except httptools.HttpParserError:
            self._fail(_BadAnswer("the answer is not HTTP"))
        self._left -= len(data)
        if self._left <= 0:
            self._fail(_BadAnswer(f"the head of the answer is over {HEAD_LIMIT >> 10} KiB"))

    def on_headers_complete(self) -> None:
        """Called by the parser. An interim answer (1xx) is followed by the one that counts."""
        status = self._parser.get_status_code()
        if (status >= 200 or status == 101) and not self.status.done():
            self.status.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc if exc is not None else _BadAnswer("connection closed without an answer"))

    def _fail(self, error: Exception) -> None:
        if not self.status.done():
            self.status.set_exception(error)
            self.status.exception()  # nobody waits for it when the time is over already


def _request(address: str, port: int, check: HttpCheck) -> bytes:
    usual = port == (443 if check.tls else 80)
    host = check.host or (host_port(address, port).rpartition(":")[0] if usual else host_port(address, port))
    lines = (
        f"GET {check.path or '/'} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: sira-probe",
        "Accept: */*",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
