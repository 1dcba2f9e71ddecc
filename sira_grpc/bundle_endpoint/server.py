"""The bundle endpoint of this trust domain: an HTTPS server that answers `GET /` with the bundle document.

It speaks both profiles of the SPIFFE federation standard: https_spiffe where its certificate is an X.509-SVID, and
https_web where it is one of a public authority.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

from aiohttp import web

from sira_grpc.bundle_endpoint.connections import Connections
from sira_grpc.bundle_endpoint.rotating_tls import CertificateSource, RotatingTls
from sira_grpc.errors import ConfigError

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 16_384
_SHUTDOWN_SECONDS = 1.0


class BundleServer:
    """Serves a bundle document, one answer a connection.

    Args:
        address: `host:port`, the port 0 to let the system choose.
        document: returns the document as it is right now; called at each request, on the event loop.
        certificate: returns what the server shows right now.
        connection_seconds: how long a connection may take, from its first packet to its last.
        max_connections: how many there are at once, at most; further ones wait.
    """

    def __init__(
        self,
        address: str,
        document: Callable[[], bytes],
        certificate: CertificateSource,
        *,
        connection_seconds: float = 10.0,
        max_connections: int = 256,
    ) -> None:
        self._address = address
        self._document = document
        self._tls = RotatingTls(certificate)
        self._seconds = connection_seconds
        self._connections = Connections(self._serve, limit=max_connections)
        self._http: web.Server | None = None

    async def start(self) -> str:
        """Binds and serves. Returns the address with the port that it has.

        Raises:
            ConfigError: the address cannot be bound.
            OSError: the certificate cannot be used.
        """
        self._tls.load()
        self._http = web.Server(self._answer)
        try:
            return await self._connections.open(self._address)
        except OSError as error:
            raise ConfigError(f"identity.bundle_address: {self._address} cannot be bound: {error.strerror}") from error

    async def stop(self) -> None:
        """Lets go of the address and cuts off every connection: who has no answer yet asks again. Idempotent."""
        await self._connections.close()
        if self._http is not None:
            await self._http.shutdown(_SHUTDOWN_SECONDS)

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        assert self._http is not None
        protocol = _Protocol(self._http, loop)
        try:
            async with asyncio.timeout(self._seconds):
                await loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self._tls.context,
                    ssl_handshake_timeout=self._seconds,
                    ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
                )
                await protocol.lost.wait()
        except OSError as error:  # the client's fault, or its time is over
            log.debug("a connection ended early: %s", error)
        finally:
            await protocol.abort()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path != "/":
            return _plain(404)
        if request.method != "GET":
            return _plain(405, {"Allow": "GET"})
        document = self._document()
        headers = _validators(document)
        if any(known.value in ("*", headers["ETag"].strip('"')) for known in request.if_none_match or ()):
            return _closing(web.Response(status=304, headers=headers))
        return _closing(web.Response(body=document, content_type="application/json", headers=headers))


class _Protocol(web.RequestHandler):
    """One connection with one request, of which no more is read than a request may have."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        settings: dict[str, Any] = {"access_log": None, "lingering_time": 0}
        super().__init__(server, loop=loop, **settings)
        self.lost = asyncio.Event()
        self._wire: asyncio.Transport | None = None
        self._received = 0

    async def abort(self) -> None:
        """Ends the connection, if it was ever made, and waits for that."""
        if self._wire is not None:
            self._wire.abort()
            await self.lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._wire = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._received += len(data)
        if self._received > MAX_REQUEST_BYTES and self._wire is not None:
            self._wire.abort()
        else:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        self.lost.set()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answers what is no HTTP, and what this server got wrong: only that is worth a line in the log."""
        if status >= 500:
            log.error("the bundle document cannot be served", exc_info=exc)
        return _plain(status)


def _plain(status: int, headers: Mapping[str, str] = MappingProxyType({})) -> web.Response:
    return _closing(web.Response(status=status, text=f"{status}\n", headers=headers))


def _closing(response: web.Response) -> web.Response:
    response.headers["Server"] = "sira"  # and not aiohttp with its version and Python's
    response.force_close()
    return response


@lru_cache(maxsize=1)
def _validators(document: bytes) -> Mapping[str, str]:
    """What tells caches how long the document is good for, and how to ask whether it has changed.

    The sequence alone is not enough: it goes back when a store is restored from a backup.
    """
    data = json.loads(document)
    hint = data.get("spiffe_refresh_hint", 0)
    return {
        "ETag": f'"{data.get("spiffe_sequence", 0)}-{hashlib.sha256(document).hexdigest()[:16]}"',
        "Cache-Control": f"max-age={hint}" if hint else "no-cache",
    }
