"""The Secret Discovery Service: gives Envoys on this host their certificates and keys, and whom to trust.

Source: Envoy's documentation, "Secret discovery service (SDS)".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import grpc
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from sira_client.first_of import first_of

from sira_grpc.agent.sds_stream import DeltaStream, Offer, SecretStream, StateStream
from sira_grpc.rpc.call import Context

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
IDENTITY, TRUST = "identity", "trust"
"""What Sira's own bootstraps and resources call the certificate and the roots."""
DEFAULT, ROOTS, ALL_ROOTS = "default", "ROOTCA", "ALL"
"""What SPIRE calls the certificate, the roots, and those of all trust domains."""


class Secrets(Protocol):
    """What one client may have, as it changes. Used by one stream.

    Attributes:
        defaults: names of what a client gets that names nothing.
    """

    defaults: tuple[str, ...]

    def offer(self) -> Offer:
        """Returns all of it, as it is now."""

    async def changed(self) -> None:
        """Returns once the offer that was last asked for, and has been passed on, may be another.

        Raises:
            Unready: it ends here.
        """


Open = Callable[[Context], AbstractAsyncContextManager[Secrets]]
"""Opens what the process behind a call may have. Raises PermissionDenied or Unready."""


class SecretDiscovery:
    """The servicer.

    Args:
        open_secrets: see Open.
    """

    def __init__(self, open_secrets: Open) -> None:
        self._open = open_secrets

    async def stream_secrets(self, requests: AsyncIterator[Any], context: Context) -> AsyncGenerator[bytes, None]:
        """Yields all that is asked for, and again whenever a part of it changes."""
        async for response in self._serve(requests, context, StateStream):
            yield response

    async def delta_secrets(self, requests: AsyncIterator[Any], context: Context) -> AsyncGenerator[bytes, None]:
        """Yields what is asked for, and what changes of it."""
        async for response in self._serve(requests, context, DeltaStream):
            yield response

    async def _serve(
        self, requests: AsyncIterator[Any], context: Context, make: Callable[[tuple[str, ...]], SecretStream]
    ) -> AsyncGenerator[bytes, None]:
        async with self._open(context) as secrets:
            stream, asked = make(secrets.defaults), asyncio.Event()
            reading = asyncio.create_task(_read(requests, stream, secrets, asked))
            try:
                ended = False
                while not ended:
                    asked.clear()
                    ended = reading.done()
                    if ended:
                        reading.result()
                    response = stream.response(secrets.offer())
                    if response is not None:
                        yield response
                    if not ended:
                        await first_of(asked.wait(), secrets.changed())
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)


async def _read(requests: AsyncIterator[Any], stream: SecretStream, secrets: Secrets, asked: asyncio.Event) -> None:
    """Takes requests until the client ends its side. However many come, what is kept is what was asked for."""
    try:
        async for request in requests:
            stream.receive(request, secrets.offer())
            asked.set()
    finally:
        asked.set()


def handlers(discovery: SecretDiscovery) -> dict[str, Any]:
    """Returns the methods of the service, by their names, as generated code would register them.

    Without `FetchSecrets`, which no Envoy calls.
    """
    state = (DiscoveryRequest.FromString, DiscoveryResponse.SerializeToString)
    delta = (DeltaDiscoveryRequest.FromString, DeltaDiscoveryResponse.SerializeToString)
    return {
        "StreamSecrets": grpc.stream_stream_rpc_method_handler(discovery.stream_secrets, *state),
        "DeltaSecrets": grpc.stream_stream_rpc_method_handler(discovery.delta_secrets, *delta),
    }
