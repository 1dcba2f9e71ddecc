"""Gives the Envoy beside this process its certificate and whom to trust: SDS on a private Unix socket."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from grpc import aio
from opentelemetry.metrics import NoOpMeter

from sira_grpc.agent import sds, sds_messages
from sira_grpc.agent.sds_stream import Offer
from sira_grpc.rpc.call import Context
from sira_grpc.rpc.edge import Edge
from sira_grpc.rpc.interceptors import Errors, Metrics

if TYPE_CHECKING:
    from sira_client import Identity, IdentitySource

_OPTIONS = (("grpc.max_receive_message_length", 262_144), ("grpc.so_reuseport", 0))


class IdentitySecrets:
    """What there is of one identity; see sds.Secrets."""

    defaults: tuple[str, ...] = (sds.IDENTITY, sds.TRUST)

    def __init__(self, source: IdentitySource) -> None:
        self._source = source
        self._offered = source.current

    def offer(self) -> Offer:
        """See sds.Secrets."""
        identity = self._offered = self._source.current
        return offer_of(identity)

    async def changed(self) -> None:
        """See sds.Secrets."""
        await self._source.changed(self._offered)


def offer_of(identity: Identity) -> Offer:
    """Returns the secrets of an identity, under the names of Sira's own bootstraps and resources."""
    return {
        sds.IDENTITY: sds_messages.certificate(sds.IDENTITY, identity.svid, identity.key),
        sds.TRUST: sds_messages.roots(sds.TRUST, identity.bundle),
    }


class SecretServer:
    """Serves one identity, as it is renewed. An async context manager.

    Args:
        path: of the socket, in a folder that nobody else may enter: whoever connects is given the key.
        source: of the identity, which is followed already.
    """

    def __init__(self, path: Path, source: IdentitySource) -> None:
        self._path = path
        self._source = source

    async def __aenter__(self) -> Self:
        metrics = Metrics(NoOpMeter("sira"))
        edge = Edge([metrics], Errors(lambda: secrets.token_hex(8)), metrics)
        edge.add_registered_method_handlers(sds.SERVICE, sds.handlers(sds.SecretDiscovery(self._open)))
        self._server = aio.server(handlers=[edge], options=_OPTIONS)
        self._server.add_insecure_port(f"unix:{self._path}")
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(self._server.stop(0))

    @asynccontextmanager
    async def _open(self, context: Context) -> AsyncIterator[IdentitySecrets]:
        yield IdentitySecrets(self._source)
