"""A real server with the whole edge, and four methods, one of each shape, that do what a test tells them."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc import aio
from grpc_status import rpc_status
from sira.registry.v1.registry_service_pb2 import (
    HoldLeaseRequest,
    HoldLeaseResponse,
    ReportLoadRequest,
    ReportLoadResponse,
)
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.resolver_service_pb2 import ResolveRequest, ResolveResponse, WatchRequest, WatchResponse
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from sira_grpc.clock import Clock, SystemClock
from sira_grpc.config import KernelConfig, LimitsConfig, ServerConfig, TelemetryConfig, load
from sira_grpc.rpc.call import Context
from sira_grpc.rpc.edge import Edge
from sira_grpc.rpc.interceptors import Authorizer
from sira_grpc.rpc.server import RpcServer
from sira_grpc.telemetry import Telemetry, open_telemetry

if TYPE_CHECKING:
    from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub
    from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceAsyncStub

SERVICE = "namespaces/default/services/orders"
RESOLVER = "sira.registry.v1.ResolverService"
REGISTRY = "sira.registry.v1.RegistryService"


class Script:
    """The servicer. By default every method answers; a test replaces what it needs."""

    async def resolve(self, request: ResolveRequest, context: Context) -> Any:
        """One request, one response."""
        return ResolveResponse(revision=1)

    async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
        """One request, a stream of responses."""
        for revision in range(1, 4):
            yield WatchResponse(revision=revision)

    async def report_load(self, requests: AsyncIterator[ReportLoadRequest], context: Context) -> Any:
        """A stream of requests, one response."""
        return ReportLoadResponse(accepted=len([request async for request in requests]))

    async def hold_lease(self, requests: AsyncIterator[HoldLeaseRequest], context: Context) -> AsyncIterator[Any]:
        """Both stream."""
        async for request in requests:
            yield HoldLeaseResponse(lease_key=request.lease_key)


def add_script(script: Script, server: Edge) -> None:
    """In the place of two generated functions: a method is looked up in the script when it is added."""

    def serializers(request: Any, response: Any) -> dict[str, Any]:
        return {"request_deserializer": request.FromString, "response_serializer": response.SerializeToString}

    resolve = grpc.unary_unary_rpc_method_handler(script.resolve, **serializers(ResolveRequest, ResolveResponse))
    watch = grpc.unary_stream_rpc_method_handler(cast(Any, script.watch), **serializers(WatchRequest, WatchResponse))
    report_load = grpc.stream_unary_rpc_method_handler(
        cast(Any, script.report_load), **serializers(ReportLoadRequest, ReportLoadResponse)
    )
    hold_lease = grpc.stream_stream_rpc_method_handler(
        cast(Any, script.hold_lease), **serializers(HoldLeaseRequest, HoldLeaseResponse)
    )
    server.add_registered_method_handlers(RESOLVER, {"Resolve": resolve, "Watch": watch})
    server.add_registered_method_handlers(REGISTRY, {"ReportLoad": report_load, "HoldLease": hold_lease})


@dataclass
class Served:
    """A server that runs, and a plaintext client of its first address."""

    server: RpcServer
    telemetry: Telemetry
    channel: aio.Channel

    @property
    def address(self) -> str:
        return self.server.addresses[0]

    @property
    def resolver(self) -> ResolverServiceAsyncStub:
        return ResolverServiceStub(self.channel)

    @property
    def registry(self) -> RegistryServiceAsyncStub:
        return RegistryServiceStub(self.channel)

    @property
    def raw(self) -> Any:
        """The channel for calls with bytes, which the stubs of grpc cannot type."""
        return self.channel


@asynccontextmanager
async def serve(
    script: Script | None = None,
    *,
    server: ServerConfig | None = None,
    limits: LimitsConfig | None = None,
    telemetry: TelemetryConfig | None = None,
    environment: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    authorizer: Authorizer | None = None,
) -> AsyncIterator[Served]:
    """Serves a script until the block ends."""
    config = KernelConfig(
        server=server or ServerConfig(addresses=("127.0.0.1:0",), drain_grace=0.01),
        limits=limits or LimitsConfig(),
        telemetry=telemetry or TelemetryConfig(),
        authorization=load(environment=environment or {}).authorization,
    )
    ids = itertools.count(1)
    opened = await asyncio.to_thread(open_telemetry, config.telemetry, version="0")
    try:
        rpc = RpcServer(
            config,
            [(add_script, script or Script())],
            telemetry=opened,
            clock=clock or SystemClock(),
            rng=random.Random(7),
            new_id=lambda: f"id-{next(ids)}",
            authorizer=authorizer,
        )
        await rpc.start()
        try:
            async with aio.insecure_channel(rpc.addresses[0]) as channel:
                yield Served(rpc, opened, channel)
        finally:
            await rpc.stop()
    finally:
        await asyncio.to_thread(opened.close)


@dataclass(frozen=True)
class Failure:
    """What a caller is told of a failed call."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: Mapping[str, str]
    violations: Mapping[str, str]
    retry_after: float | None


async def failure(call: Awaitable[Any] | Callable[[], Awaitable[Any]]) -> Failure:
    """Awaits a call that must fail, and reads all that its status says."""
    try:
        answer = await (call() if callable(call) else call)
    except aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError(f"the call went through: {answer}")


def failure_of(error: aio.AioRpcError) -> Failure:
    """Reads all that a status says."""
    info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
    retry_after = None
    rich = rpc_status.from_call(cast(Any, error))
    for detail in rich.details if rich is not None else ():
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
        elif not detail.Unpack(bad):
            assert detail.Unpack(info)
            assert info.domain == "sira"
    violations = {violation.field: violation.description for violation in bad.field_violations}
    return Failure(error.code(), error.details() or "", info.reason, dict(info.metadata), violations, retry_after)
