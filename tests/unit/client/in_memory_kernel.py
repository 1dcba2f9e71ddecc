"""A small gRPC server with the registry's RPCs in memory, which a test can stop, start again, and make fail."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from sira.registry.v1 import registry_service_pb2 as registry
from sira.registry.v1 import resolver_service_pb2 as resolver
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.service_pb2 import Service

from tests.unit.client.failure import Context, Failure

_SHAPES: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class InMemoryKernel:
    """What it holds survives stop and start. `failures[method]` are what the next calls fail with, in order.

    `suspects` are the keys of leases whose stream was lost, `attachments` how many streams came to hold one, `holding`
    how many of them are open, and `peers[method]` from where each call came.
    """

    protos: tuple[FileDescriptor, ...] = (registry.DESCRIPTOR, resolver.DESCRIPTOR)

    def __init__(self, credentials: Callable[[], grpc.ServerCredentials] | None = None) -> None:
        self.credentials = credentials
        self.revision = 1
        self.compacted = 0
        self.service: Service | None = None
        self.endpoints: dict[str, Endpoint] = {}
        self.leases: dict[str, set[str]] = {}
        self.attached: dict[str, int] = {}
        self.failures: defaultdict[str, deque[Failure]] = defaultdict(deque)
        self.seen: defaultdict[str, list[Any]] = defaultdict(list)
        self.peers: defaultdict[str, list[str]] = defaultdict(list)
        self.suspects: list[str] = []
        self.holding = 0
        self.attachments = 0
        self.loads: list[EndpointLoad] = []
        self.parts = 1
        self.port = 0
        self._log: list[tuple[int, str]] = []
        self._streams = 0
        self._news = asyncio.Condition()
        self._drops: set[asyncio.Event] = set()
        self._holds: dict[str, asyncio.Event] = {}
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(options=OPTIONS)
        for service in self.protos:
            for described in service.services_by_name.values():
                self._server.add_generic_rpc_handlers((self._handlers(described),))
        if self.credentials is None:
            self.port = self._server.add_insecure_port(self.address)
        else:
            self.port = self._server.add_secure_port(self.address, self.credentials())
        await self._server.start()

    def _handlers(self, described: ServiceDescriptor) -> grpc.GenericRpcHandler:
        """The methods that are implemented here; the others answer UNIMPLEMENTED."""
        handlers = {}
        for method in described.methods:
            behavior = getattr(self, method.name, None)
            if behavior is not None:
                handlers[method.name] = _SHAPES[method.client_streaming, method.server_streaming](
                    behavior,
                    request_deserializer=GetMessageClass(method.input_type).FromString,
                    response_serializer=GetMessageClass(method.output_type).SerializeToString,
                )
        return grpc.method_handlers_generic_handler(described.full_name, handlers)

    async def stop(self) -> None:
        """Ends as a kernel does that is killed: streams break, and nothing is written."""
        if self._server is not None:
            server, self._server = self._server, None
            self.attached.clear()
            await server.stop(None)

    async def drop_streams(self) -> None:
        """Ends every open stream with UNAVAILABLE."""
        for drop in self._drops:
            drop.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until something has happened here."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(condition)

    async def moved(self, attachments: int) -> None:
        """Waits until a lease is held by one stream alone, after so many came to hold it."""
        await self.until(lambda: self.attachments == attachments and self.holding == 1)

    async def put(self, *endpoints: Endpoint, service: Service | None = None) -> None:
        for endpoint in endpoints:
            self.endpoints[endpoint.name] = endpoint
        if service is not None:
            self.service = service
        await self._wrote(*(endpoint.name for endpoint in endpoints))

    async def remove(self, *names: str) -> None:
        for name in names:
            self.endpoints.pop(name, None)
        await self._wrote(*names)

    async def _wrote(self, *names: str) -> None:
        self.revision += 1
        self._log += [(self.revision, name) for name in names]
        await self._notify()

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _enter(self, method: str, request: Any, context: Context) -> None:
        self.seen[method].append(request)
        self.peers[method].append(context.peer())
        await self._notify()
        if self.failures[method]:
            await self.failures[method].popleft().abort(context)

    async def HoldLease(
        self, requests: AsyncIterator[registry.HoldLeaseRequest], context: Context
    ) -> AsyncIterator[registry.HoldLeaseResponse]:
        first = await anext(requests)
        await self._enter("HoldLease", first, context)
        key = first.lease_key or f"key-{len(self.leases) + 1}"
        if not first.lease_key:
            self.leases[key] = set()
        elif key not in self.leases:
            await Failure(grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND").abort(context)
        self._streams += 1
        mine = self.attached[key] = self._streams
        for endpoint in first.endpoints:
            endpoint.status.state = HealthState.HEALTH_STATE_SERVING
            self.leases[key].add(endpoint.name)
        await self.put(*first.endpoints)
        drop, superseded = asyncio.Event(), asyncio.Event()
        self._drops.add(drop)  # before the client knows: it may want to be dropped at once
        self._holds.pop(key, asyncio.Event()).set()
        self._holds[key] = superseded
        self.holding += 1
        self.attachments += 1
        try:
            yield registry.HoldLeaseResponse(lease_key="" if first.lease_key else key, revision=self.revision)
            await self._stay(requests, context, key, drop, superseded)
        finally:
            self._drops.discard(drop)
            if self.attached.get(key) == mine:
                del self.attached[key]
                if key in self.leases:
                    self.suspects.append(key)
            self.holding -= 1
            await self._notify()

    async def _stay(
        self,
        requests: AsyncIterator[registry.HoldLeaseRequest],
        context: Context,
        key: str,
        drop: asyncio.Event,
        superseded: asyncio.Event,
    ) -> None:
        ended = asyncio.ensure_future(anext(requests, None))
        dropped = asyncio.ensure_future(drop.wait())
        taken = asyncio.ensure_future(superseded.wait())
        try:
            await asyncio.wait({ended, dropped, taken}, return_when=asyncio.FIRST_COMPLETED)
            if taken.done():
                await Failure(grpc.StatusCode.ABORTED, "LEASE_SUPERSEDED").abort(context)
            if dropped.done():
                await (
                    (self.failures["stream"] or deque([Failure(grpc.StatusCode.UNAVAILABLE)])).popleft().abort(context)
                )
            if ended.result() is None and key in self.leases:
                await self.remove(*self.leases.pop(key))
        finally:
            ended.cancel()
            dropped.cancel()
            taken.cancel()

    async def RevokeLease(self, request: registry.RevokeLeaseRequest, context: Context) -> registry.RevokeLeaseResponse:
        await self._enter("RevokeLease", request, context)
        await self.remove(*self.leases.pop(request.lease_key, set()))
        return registry.RevokeLeaseResponse(revision=self.revision)

    async def UpdateEndpoint(
        self, request: registry.UpdateEndpointRequest, context: Context
    ) -> registry.UpdateEndpointResponse:
        await self._enter("UpdateEndpoint", request, context)
        stored = self.endpoints[request.endpoint.name]
        request.update_mask.MergeMessage(request.endpoint, stored, True, True)
        await self.put(stored)
        return registry.UpdateEndpointResponse(endpoint=stored)

    async def ReportHealth(
        self, request: registry.ReportHealthRequest, context: Context
    ) -> registry.ReportHealthResponse:
        await self._enter("ReportHealth", request, context)
        return registry.ReportHealthResponse()

    async def ReportLoad(
        self, requests: AsyncIterator[registry.ReportLoadRequest], context: Context
    ) -> registry.ReportLoadResponse:
        async for request in requests:
            await self._enter("ReportLoad", request, context)
            self.loads += request.loads
            await self._notify()
        return registry.ReportLoadResponse(accepted=len(self.loads))

    async def Drain(self, request: registry.DrainRequest, context: Context) -> registry.DrainResponse:
        await self._enter("Drain", request, context)
        for name in request.names:
            self.endpoints[name].status.state = HealthState.HEALTH_STATE_DRAINING
        await self._wrote(*request.names)
        return registry.DrainResponse(outcome=registry.DRAIN_OUTCOME_DRAINED, revision=self.revision)

    async def Resolve(self, request: resolver.ResolveRequest, context: Context) -> resolver.ResolveResponse:
        await self._enter("Resolve", request, context)
        found = [resolver.ResolvedEndpoint(name=name) for name in sorted(self.endpoints)]
        return resolver.ResolveResponse(endpoints=found, registered=len(found), revision=self.revision)

    async def Watch(self, request: resolver.WatchRequest, context: Context) -> AsyncIterator[resolver.WatchResponse]:
        await self._enter("Watch", request, context)
        revision = request.start_revision
        if revision and revision < self.compacted:
            await Failure(grpc.StatusCode.OUT_OF_RANGE, "REVISION_COMPACTED").abort(context)
        if revision > self.revision:
            await Failure(grpc.StatusCode.OUT_OF_RANGE, "REVISION_AHEAD").abort(context)
        if self.service is None:
            await Failure(grpc.StatusCode.NOT_FOUND, "SERVICE_NOT_FOUND").abort(context)
        drop = asyncio.Event()
        self._drops.add(drop)
        try:
            if not revision:
                messages = self._snapshot()
                revision = messages[0].revision
                for message in messages:
                    yield message
            else:
                yield resolver.WatchResponse(revision=revision, progress=resolver.WatchProgress())
            while True:
                wait = asyncio.ensure_future(self._after(revision))
                dropped = asyncio.ensure_future(drop.wait())
                try:
                    await asyncio.wait({wait, dropped}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    wait.cancel()
                    dropped.cancel()
                if drop.is_set():
                    stopping = Failure(grpc.StatusCode.UNAVAILABLE, "KERNEL_STOPPING", retry_after_ms=1)
                    await (self.failures["watching"] or deque([stopping])).popleft().abort(context)
                message = self._changes(revision)
                revision = message.revision
                yield message
        finally:
            self._drops.discard(drop)

    async def _after(self, revision: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self.revision > revision)

    def _snapshot(self) -> list[resolver.WatchResponse]:
        """Everything, in as many parts as the test wants."""
        found = list(self.endpoints.values())
        parts = [found[i :: self.parts] for i in range(self.parts)]
        result = []
        for i, part in enumerate(parts):
            snapshot = resolver.WatchSnapshot(endpoints=part, more=i + 1 < self.parts)
            if i == 0 and self.service is not None:
                snapshot.service.CopyFrom(self.service)
            result.append(resolver.WatchResponse(revision=self.revision, snapshot=snapshot))
        return result

    def _changes(self, revision: int) -> resolver.WatchResponse:
        names = {name for when, name in self._log if when > revision}
        changes = resolver.WatchChanges(
            service=self.service,
            upserted=[self.endpoints[name] for name in names if name in self.endpoints],
            deleted=[name for name in names if name not in self.endpoints],
        )
        return resolver.WatchResponse(revision=self.revision, changes=changes)
