"""The identity that an agent on this host gives out, over the SPIFFE Workload API.

Source: the SPIFFE standard, "The SPIFFE Workload API" and "The SPIFFE Workload Endpoint".
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
from sira.identity.workload.v1.workload_pb2 import (
    JwtSvidRequest,
    JwtSvidResponse,
    X509Svid,
    X509SvidRequest,
    X509SvidResponse,
)

from sira_client.errors import DeadlineExceededError, NotFoundError, UnavailableError, from_rpc_error
from sira_client.identity import der, pem
from sira_client.identity.identity import Identity
from sira_client.identity.source import IdentitySource
from sira_client.settings import Settings

DEFAULT_SOCKET = "unix:/run/sira/agent.sock"
SOCKET_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"

_SERVICE = "/SpiffeWorkloadAPI/"
_HEADER = (("workload.spiffe.io", "true"),)
"""Says that this is a program that means to call this API, and not one that was made to."""

T = TypeVar("T")


class IdentityAgent(IdentitySource):
    """Follows the identity that an agent gives to this process: `sira identity agent`, or any of the SPIFFE standard.

    Args:
        socket: path of the agent's Unix socket, or `unix:path`. None for the environment's `SPIFFE_ENDPOINT_SOCKET`,
            or else `unix:/run/sira/agent.sock`.
        identity: the SPIFFE ID to be, where the agent gives several. Empty for its default, the first.
        timeout: how long, in seconds, to wait for the first identity. Default 30.
        settings: back-off and clock; None for the defaults.

    Raises:
        ValueError: the socket is none.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        identity: str = "",
        timeout: float = 30.0,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(timeout=timeout, settings=settings)
        self._target = _target(socket)
        self._identity = identity

    def __str__(self) -> str:
        """What it is called in messages."""
        return f"the identity agent at {self._target}"

    async def follow(self) -> AsyncGenerator[Identity, None]:
        """See Source.

        Raises:
            PermissionDeniedError: the agent has no identity for this process.
            NotFoundError: it has none of the SPIFFE ID that was asked for.
            SiraError: it is not there, or failed.
            ValueError: it sent something that is no identity; says which field.
        """
        async with self._connected() as channel:
            fetch = channel.unary_stream(
                f"{_SERVICE}FetchX509SVID", X509SvidRequest.SerializeToString, X509SvidResponse.FromString
            )
            call = fetch(X509SvidRequest(), metadata=_HEADER)
            try:
                response = await self._first_of(call)
                while isinstance(response, X509SvidResponse):
                    yield self._chosen(response)
                    response = await call.read()
            finally:
                call.cancel()
        raise UnavailableError(f"{self} ended the stream")

    async def fetch_jwt(self, audience: str | Sequence[str], identity: str = "") -> str:
        """Fetches a new JWT-SVID. Needs no `async with`.

        Args:
            audience: whom it is to be shown to: one, or several.
            identity: the SPIFFE ID in it. Empty for the one that was asked for at first, or else the default one.

        Raises:
            ValueError: there is no audience.
            NotFoundError: the agent gives none of that SPIFFE ID.
            SiraError: the agent refused, or is not there.
        """
        audiences = [audience] if isinstance(audience, str) else list(audience)
        if not audiences or not all(audiences):
            raise ValueError("audience: there must be one at least, and none may be empty")
        wanted = identity or self._identity
        async with self._connected() as channel:
            fetch = channel.unary_unary(
                f"{_SERVICE}FetchJWTSVID", JwtSvidRequest.SerializeToString, JwtSvidResponse.FromString
            )
            request = JwtSvidRequest(audience=audiences, spiffe_id=wanted)
            response = await fetch(request, metadata=_HEADER, timeout=self._settings.default_timeout)
        for svid in response.svids:
            if wanted in ("", svid.spiffe_id):
                return svid.svid
        raise NotFoundError(f"{self} gave no token for {wanted or 'any identity'}")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[grpc.aio.Channel]:
        """A connection of its own each time: so it is not held up by the back-off of an earlier one."""
        channel = grpc.aio.insecure_channel(self._target, (("grpc.use_local_subchannel_pool", 1),))
        try:
            yield channel
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            await channel.close()

    async def _first_of(self, call: grpc.aio.UnaryStreamCall[Any, X509SvidResponse]) -> object:
        try:
            async with asyncio.timeout(self._settings.default_timeout):
                return await call.read()
        except TimeoutError:
            raise DeadlineExceededError(f"{self} did not answer in time") from None

    def _chosen(self, response: X509SvidResponse) -> Identity:
        for svid in response.svids:
            if self._identity in ("", svid.spiffe_id):
                return _identity(svid, response)
        raise NotFoundError(f"{self} gives no identity {self._identity}".rstrip())


def _identity(svid: X509Svid, response: X509SvidResponse) -> Identity:
    chain = _checked("x509_svid", der.split, svid.x509_svid)
    named = _checked("x509_svid", der.spiffe_id, chain[0])
    if named != svid.spiffe_id:
        raise ValueError(f"x509_svid: must be for its spiffe_id, {svid.spiffe_id!r}, and is for {named!r}")
    return Identity(
        svid=pem.write_certificates(chain),
        key=_checked("x509_svid_key", pem.write_key, svid.x509_svid_key),
        bundle=_roots("bundle", svid.bundle),
        spiffe_id=svid.spiffe_id,
        federated={
            domain.removeprefix("spiffe://"): _roots(f"federated_bundles[{domain}]", roots)
            for domain, roots in sorted(response.federated_bundles.items())
        },
    )


def _roots(field: str, roots: bytes) -> bytes:
    return pem.write_certificates(_checked(field, der.split, roots))


def _checked(field: str, check: Callable[[bytes], T], content: bytes) -> T:
    try:
        return check(content)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None  # which may hold some of the content


def _target(socket: str | os.PathLike[str] | None) -> str:
    """How gRPC is told to connect to a socket."""
    given = os.fspath(socket) if socket is not None else os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET
    path = given.removeprefix("unix://") if given.startswith("unix:///") else given.removeprefix("unix:")
    if not path or "://" in path:
        raise ValueError(f"socket: {given!r} must be the path of a Unix socket, or unix:path")
    return f"unix:{path}"
