"""An imposter: an endpoint that shows the certificate of another service, and notes whether somebody takes it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from sira_grpc.svid import identity_directory


class Imposter:
    """A server that speaks TLS, and then nothing. Listens in `async with`.

    Args:
        identity: directory of the identity that it shows.

    Attributes:
        port: where it listens, on loopback.
        tried: connections that were made.
        taken: handshakes that went well: its certificate was taken for that of the service.
    """

    def __init__(self, identity: Path) -> None:
        self.port = 0
        self.tried = 0
        self.taken = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(identity / identity_directory.SVID, identity / identity_directory.KEY)
        self._context.set_alpn_protocols(["h2"])
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Imposter:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tried += 1
        try:
            await writer.start_tls(self._context)
            # With TLS 1.3 a server is done before the client has looked at the certificate: who takes it, writes.
            self.taken += bool(await reader.read(1))
        except OSError:
            pass  # not taken, as it should be
        finally:
            writer.close()
