"""A small SPIFFE Workload API on a Unix socket, which a test can stop, start again, and make fail."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
from sira.identity.workload.v1.workload_pb2 import (
    JwtSvid,
    JwtSvidRequest,
    JwtSvidResponse,
    X509Svid,
    X509SvidRequest,
    X509SvidResponse,
)
from sira_client import Identity

from tests.unit.client.failure import Context, Failure
from tests.unit.client.identity.trust import key_to_der, to_der

MISSING_HEADER = Failure(grpc.StatusCode.INVALID_ARGUMENT, message="the security header is missing")


class WorkloadApi:
    """`failures` are what the next calls fail with, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.response = X509SvidResponse()
        self.tokens = JwtSvidResponse()
        self.failures: deque[Failure] = deque()
        self.asked: list[JwtSvidRequest] = []
        self.streams = 0
        self._version = 0
        self._silent = False
        self._hung_up = 0
        self._news = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "FetchX509SVID": grpc.unary_stream_rpc_method_handler(
                self._fetch_x509,
                request_deserializer=X509SvidRequest.FromString,
                response_serializer=X509SvidResponse.SerializeToString,
            ),
            "FetchJWTSVID": grpc.unary_unary_rpc_method_handler(
                self._fetch_jwt,
                request_deserializer=JwtSvidRequest.FromString,
                response_serializer=JwtSvidResponse.SerializeToString,
            ),
        }
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", handlers),))
        self._server.add_insecure_port(f"unix:{self.path}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(None)

    async def give(self, *identities: Identity) -> None:
        """What is answered from now on."""
        federated = {
            f"spiffe://{domain}": to_der(roots) for one in identities for domain, roots in one.federated.items()
        }
        await self.answer(X509SvidResponse(svids=[svid(one) for one in identities], federated_bundles=federated))

    async def answer(self, response: X509SvidResponse) -> None:
        self.response = response
        self._version += 1
        await self._tell()

    def give_tokens(self, **tokens: str) -> None:
        """Tokens by the last segment of their SPIFFE IDs."""
        self.tokens = JwtSvidResponse(
            svids=[JwtSvid(spiffe_id=f"spiffe://example.org/{name}", svid=token) for name, token in tokens.items()]
        )

    async def fall_silent(self) -> None:
        """Lets streams open and says nothing on them."""
        self._silent = True
        await self._tell()

    async def hang_up(self) -> None:
        """Ends the streams that are open, in good order."""
        self._hung_up += 1
        await self._tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(condition)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _fetch_x509(self, request: X509SvidRequest, context: Context) -> AsyncIterator[X509SvidResponse]:
        await self._enter(context)
        told, hung_up = -1, self._hung_up
        while True:
            async with self._news:
                while hung_up == self._hung_up and (told == self._version or self._silent):
                    await self._news.wait()
            if hung_up != self._hung_up:
                return
            told = self._version
            yield self.response

    async def _fetch_jwt(self, request: JwtSvidRequest, context: Context) -> JwtSvidResponse:
        self.asked.append(request)
        await self._enter(context)
        return self.tokens

    async def _enter(self, context: Context) -> None:
        self.streams += 1
        await self._tell()
        if dict(context.invocation_metadata() or ()).get("workload.spiffe.io") != "true":
            await MISSING_HEADER.abort(context)
        if self.failures:
            await self.failures.popleft().abort(context)


def svid(identity: Identity) -> X509Svid:
    return X509Svid(
        spiffe_id=identity.spiffe_id,
        x509_svid=to_der(identity.svid),
        x509_svid_key=key_to_der(identity.key),
        bundle=to_der(identity.bundle),
    )
