"""An endpoint: a real gRPC server in this process, that answers with its id and can be made to behave badly."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import grpc
from grpc import aio
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

SERVICE = "/mesh.Echo/"
CALL_ID = "mesh-id"
"""Key of the metadata by which an endpoint knows that it has seen a call before."""
LOAD_TRAILER = "endpoint-load-metrics-bin"
Context = aio.ServicerContext[bytes, bytes]


@dataclass
class Behaviour:
    """How an endpoint answers.

    Attributes:
        fails: the status that every call fails with; None for none.
        fails_first: whether a call fails with UNAVAILABLE the first time that it is seen, by its CALL_ID.
        delay: seconds before an answer.
        load: what it tells with each answer; None for nothing.
    """

    fails: grpc.StatusCode | None = None
    fails_first: bool = False
    delay: float = 0
    load: OrcaLoadReport | None = None


@dataclass
class Endpoint(grpc.GenericRpcHandler):
    """An endpoint.

    Attributes:
        id: its name, and what it answers.
        behaviour: how it answers; may be changed at any time.
        calls: how many it has seen, by method.
        most: how many were under way at once at most, by method.
        called: set when there is a call.
        port: where it listens; 0 until it is started.
    """

    id: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    calls: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _under_way: Counter[str] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)
    _server: aio.Server | None = None

    async def start(self) -> None:
        """Listens on loopback."""
        self._server = aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self, grace: float | None = None) -> None:
        """Without a grace, breaks every connection as a killed process does."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Returns the handler of a call."""
        method = details.method
        if not method.startswith(SERVICE):
            return None

        async def answer(request: bytes, context: Context) -> bytes:
            self.calls[method] += 1
            self.called.set()
            self._under_way[method] += 1
            self.most[method] = max(self.most[method], self._under_way[method])
            try:
                return await self._answer(context)
            finally:
                self._under_way[method] -= 1

        return grpc.unary_unary_rpc_method_handler(answer)

    async def _answer(self, context: Context) -> bytes:
        behaviour = self.behaviour
        if behaviour.delay:
            await asyncio.sleep(behaviour.delay)
        if behaviour.load is not None:
            context.set_trailing_metadata(((LOAD_TRAILER, behaviour.load.SerializeToString()),))
        if behaviour.fails is not None:
            await context.abort(behaviour.fails, f"{self.id} fails as asked")
        call = dict(context.invocation_metadata() or ()).get(CALL_ID)
        if behaviour.fails_first and isinstance(call, str) and call not in self._seen:
            self._seen.add(call)
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{self.id} fails at first, as asked")
        return self.id.encode()
