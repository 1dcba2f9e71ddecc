"""The end of the server, as its clients see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest
from sira.registry.v1.resolver_service_pb2 import ResolveRequest, ResolveResponse, WatchRequest, WatchResponse

from sira_grpc.config import ServerConfig
from sira_grpc.rpc.call import Context, current_call
from tests.integration.edge_server import RESOLVER, SERVICE, Failure, Script, failure, failure_of, serve

# A drain that waits for this long has failed its test.
PATIENT = ServerConfig(addresses=("127.0.0.1:0",), drain_grace=3600)


class Lasting(Script):
    """Streams that stay open, and tell how they ended; unary calls that last until they are released."""

    def __init__(self) -> None:
        self.stopping: list[bool] = []
        self.running = asyncio.Event()
        self.released = asyncio.Event()

    async def resolve(self, request: ResolveRequest, context: Context) -> Any:
        self.running.set()
        await self.released.wait()
        return ResolveResponse(revision=5)

    async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
        try:
            yield WatchResponse(revision=1)
            await asyncio.Event().wait()
        finally:
            self.stopping.append(current_call().stopping)

    async def hold_lease(self, requests: AsyncIterator[HoldLeaseRequest], context: Context) -> AsyncIterator[Any]:
        try:
            async for response in super().hold_lease(requests, context):
                yield response
        finally:
            self.stopping.append(current_call().stopping)


def is_stopping(told: Failure) -> bool:
    return (
        told.code is grpc.StatusCode.UNAVAILABLE
        and told.reason == "KERNEL_STOPPING"
        and told.retry_after is not None
        and 0.1 <= told.retry_after <= 1.0
    )


async def test_streams_end_at_once_and_say_when_to_come_back() -> None:
    script = Lasting()
    async with serve(script, server=PATIENT) as served:
        watches = [served.resolver.Watch(WatchRequest(service=SERVICE)) for _ in range(50)]
        for watch in watches:
            assert isinstance(await watch.read(), WatchResponse)
        lease = served.registry.HoldLease()
        await lease.write(HoldLeaseRequest(lease_key="k"))
        await lease.read()
        await served.server.drain()
        told = [await failure(watch.read()) for watch in watches] + [await failure(lease.read())]
        assert all(map(is_stopping, told))
        assert len({failed.retry_after for failed in told}) > 10
        assert script.stopping == [True] * 51


async def test_a_stream_whose_client_does_not_read_ends_too() -> None:
    class Flooding(Script):
        def __init__(self) -> None:
            self.stopping = False

        async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
            try:
                while True:
                    yield bytes(1 << 20)
            finally:
                self.stopping = current_call().stopping

    script = Flooding()
    async with serve(script, server=PATIENT) as served:
        call = served.raw.unary_stream(f"/{RESOLVER}/Watch")(WatchRequest(service=SERVICE).SerializeToString())
        await call.read()
        await served.server.drain()
        assert script.stopping


async def test_a_unary_call_gets_to_finish() -> None:
    script = Lasting()
    async with serve(script, server=PATIENT) as served:
        call = asyncio.ensure_future(served.resolver.Resolve(ResolveRequest(service=SERVICE)))
        await script.running.wait()
        draining = asyncio.ensure_future(served.server.drain())
        told = await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE)))
        assert is_stopping(told)
        assert not draining.done()
        script.released.set()
        assert (await call).revision == 5
        await draining


async def test_a_unary_call_that_outlasts_the_grace_is_told_so() -> None:
    script = Lasting()
    async with serve(script) as served:
        call = asyncio.ensure_future(served.resolver.Resolve(ResolveRequest(service=SERVICE)))
        await script.running.wait()
        await served.server.drain()
        assert is_stopping(await failure(call))


async def test_a_servicer_that_clings_on_does_not_keep_the_server() -> None:
    class Clinging(Script):
        def __init__(self) -> None:
            self.waiting = asyncio.Event()
            self.cancelled = asyncio.Event()
            self.released = asyncio.Event()

        async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
            yield WatchResponse()
            self.waiting.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                await self.released.wait()

    script = Clinging()
    async with serve(script) as served:
        call = served.resolver.Watch(WatchRequest(service=SERVICE))
        await call.read()
        await script.waiting.wait()
        await served.server.drain()
        assert script.cancelled.is_set()
        script.released.set()


async def test_stop_drains_and_may_be_called_again() -> None:
    script = Lasting()
    async with serve(script, server=PATIENT) as served:
        call = served.resolver.Watch(WatchRequest(service=SERVICE))
        await call.read()
        await served.server.stop()
        await served.server.stop()
        assert is_stopping(await failure(call.read()))
        assert script.stopping == [True]


async def test_health_follows_the_life_of_the_server() -> None:
    async with serve(Lasting(), server=PATIENT) as served:
        health = health_pb2_grpc.HealthStub(served.channel)
        not_serving, serving = (
            health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING),
            health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING),
        )
        everything = health.Watch(health_pb2.HealthCheckRequest())
        resolver = health.Watch(health_pb2.HealthCheckRequest(service=RESOLVER))
        unknown = health.Watch(health_pb2.HealthCheckRequest(service="no.Service"))
        assert await everything.read() == await resolver.read() == not_serving
        assert (await unknown.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        assert await health.Check(health_pb2.HealthCheckRequest(service=RESOLVER)) == not_serving
        served.server.serving()
        assert await everything.read() == await resolver.read() == serving
        assert await health.Check(health_pb2.HealthCheckRequest()) == serving
        listed = await health.List(health_pb2.HealthListRequest())
        assert {"", RESOLVER, "grpc.health.v1.Health"} <= set(listed.statuses)
        assert all(status == serving for status in listed.statuses.values())
        await served.server.drain()
        assert await everything.read() == await resolver.read() == not_serving
        for watch in (everything, resolver, unknown):
            with pytest.raises(aio.AioRpcError) as caught:
                await watch.read()
            assert is_stopping(failure_of(caught.value))
        assert await health.Check(health_pb2.HealthCheckRequest()) == not_serving
        told = await failure(health.Check(health_pb2.HealthCheckRequest(service="no.Service")))
        assert told.code is grpc.StatusCode.NOT_FOUND


async def test_a_stream_that_is_just_opening_is_told_too() -> None:
    script = Lasting()
    async with serve(script, server=PATIENT) as served:
        watches = [served.resolver.Watch(WatchRequest(service=SERVICE)) for _ in range(300)]
        reading = [asyncio.ensure_future(watch.read()) for watch in watches]
        await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        await served.server.drain()
        await asyncio.wait(reading)
        for watch, first in zip(watches, reading, strict=True):
            assert is_stopping(await failure(first if first.exception() else watch.read()))
