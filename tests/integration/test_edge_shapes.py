"""The four shapes of calls, through the whole edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest, ReportLoadRequest
from sira.registry.v1.resolver_service_pb2 import ResolveRequest, ResolveResponse, WatchRequest, WatchResponse

from sira_grpc.rpc.call import Context, actor, current_call
from tests.integration.edge_server import RESOLVER, SERVICE, Script, failure, serve


async def test_each_shape_passes_messages_in_order() -> None:
    async with serve() as served:
        assert (await served.resolver.Resolve(ResolveRequest(service=SERVICE))).revision == 1
        watched = [message.revision async for message in served.resolver.Watch(WatchRequest(service=SERVICE))]
        assert watched == [1, 2, 3]
        assert (await served.registry.ReportLoad(iter([ReportLoadRequest()] * 3))).accepted == 3
        keys = [f"key-{index}" for index in range(4)]
        held = served.registry.HoldLease(HoldLeaseRequest(lease_key=key) for key in keys)
        assert [message.lease_key async for message in held] == keys


async def test_streams_of_nothing() -> None:
    async with serve() as served:
        assert (await served.registry.ReportLoad(iter(()))).accepted == 0
        assert [message async for message in served.registry.HoldLease(iter(()))] == []


async def test_bytes_pass_through_as_they_are() -> None:
    class Serialized(Script):
        async def resolve(self, request: ResolveRequest, context: Context) -> Any:
            return ResolveResponse(revision=7).SerializeToString()

        async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
            yield WatchResponse(revision=8).SerializeToString()

    async with serve(Serialized()) as served:
        assert (await served.resolver.Resolve(ResolveRequest(service=SERVICE))).revision == 7
        assert [m.revision async for m in served.resolver.Watch(WatchRequest(service=SERVICE))] == [8]


async def test_a_servicer_learns_who_calls_what() -> None:
    class Asking(Script):
        seen: list[tuple[str, str, str, bool]]

        async def resolve(self, request: ResolveRequest, context: Context) -> Any:
            call = current_call()
            self.seen = [(actor(), call.method.name, call.identity, call.stopping)]
            return ResolveResponse()

    script = Asking()
    async with serve(script) as served:
        await served.resolver.Resolve(ResolveRequest(service=SERVICE))
    assert script.seen == [("127.0.0.1", f"{RESOLVER}/Resolve", "", False)]
    assert actor() == ""
    with pytest.raises(LookupError):
        current_call()


async def test_a_generator_is_closed_when_its_client_goes_away() -> None:
    opened, closed = asyncio.Event(), asyncio.Event()

    class Closing(Script):
        stopping = True

        async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
            try:
                yield WatchResponse()
                opened.set()
                await asyncio.Event().wait()
            finally:
                self.stopping = current_call().stopping
                closed.set()

    script = Closing()
    async with serve(script) as served:
        call = served.resolver.Watch(WatchRequest(service=SERVICE))
        await call.read()
        await opened.wait()
        call.cancel()
        await closed.wait()
    assert script.stopping is False


async def test_a_generator_is_closed_when_its_client_does_not_read() -> None:
    closed = asyncio.Event()

    class Flooding(Script):
        async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
            try:
                while True:
                    yield bytes(1 << 20)
            finally:
                closed.set()

    async with serve(Flooding()) as served:
        call = served.raw.unary_stream(f"/{RESOLVER}/Watch")(WatchRequest(service=SERVICE).SerializeToString())
        await call.read()
        call.cancel()
        await closed.wait()


async def test_an_unknown_method_is_unimplemented() -> None:
    async with serve() as served:
        told = await failure(served.raw.unary_unary("/sira.registry.v1.ResolverService/Guess")(b""))
        assert told.code is grpc.StatusCode.UNIMPLEMENTED
        told = await failure(served.raw.unary_unary("/no.Service/Guess")(b""))
        assert told.code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("name", ["resolve", "watch", "report_load", "hold_lease"])
async def test_a_servicer_that_would_block_the_loop_is_refused(name: str) -> None:
    class Blocking(Script):
        def blocking(self, request: Any, context: Context) -> Any:
            return request

    script = Blocking()
    setattr(script, name, script.blocking)
    with pytest.raises(TypeError, match=r"must be (a coroutine function|an async generator)"):
        async with serve(script):
            pass
