"""Limits and authorization, as callers meet them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import Message
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest
from sira.registry.v1.resolver_service_pb2 import ResolveRequest, ResolveResponse, WatchRequest, WatchResponse

from sira_grpc.config import LimitsConfig
from sira_grpc.errors import PermissionDenied
from sira_grpc.rpc.call import Call, Context
from tests.clocks import FakeClock
from tests.integration.edge_server import SERVICE, Script, failure, serve


class Lasting(Script):
    """Calls that last until they are released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.closed = asyncio.Event()

    async def resolve(self, request: ResolveRequest, context: Context) -> Any:
        await self.released.wait()
        return ResolveResponse()

    async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
        try:
            yield WatchResponse()
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def test_streams_of_one_caller_are_limited() -> None:
    script = Lasting()
    async with serve(script, limits=LimitsConfig(max_streams_per_caller=2)) as served:
        watches = [served.resolver.Watch(WatchRequest(service=SERVICE)) for _ in range(2)]
        for watch in watches:
            await watch.read()
        told = await failure(served.resolver.Watch(WatchRequest(service=SERVICE)).read())
        assert told.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert told.reason == "LIMIT_EXCEEDED"
        assert told.metadata == {"limit": "max_streams_per_caller", "value": "2", "caller": "127.0.0.1"}
        assert told.retry_after == 1.0
        watches[0].cancel()
        await script.closed.wait()
        assert isinstance(await served.resolver.Watch(WatchRequest(service=SERVICE)).read(), WatchResponse)


async def test_calls_of_one_caller_are_limited() -> None:
    script = Lasting()
    async with serve(script, limits=LimitsConfig(max_calls_per_caller=3)) as served:
        calls = [asyncio.ensure_future(served.resolver.Resolve(ResolveRequest(service=SERVICE))) for _ in range(4)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        told = await failure(refused)
        assert told.metadata["limit"] == "max_calls_per_caller"
        script.released.set()
        await asyncio.gather(*(call for call in calls if call is not refused))


async def test_the_rate_of_one_caller_is_limited() -> None:
    clock = FakeClock()
    async with serve(limits=LimitsConfig(calls_per_second_per_caller=4, burst=2), clock=clock) as served:
        for _ in range(2):
            await served.resolver.Resolve(ResolveRequest(service=SERVICE))
        told = await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE)))
        assert told.metadata["limit"] == "calls_per_second_per_caller"
        assert told.retry_after == 0.25
        clock.advance(0.25)
        await served.resolver.Resolve(ResolveRequest(service=SERVICE))


async def test_a_call_that_was_refused_or_failed_is_not_counted_for_ever() -> None:
    async with serve(limits=LimitsConfig(max_calls_per_caller=1, max_streams_per_caller=1)) as served:
        for _ in range(5):
            assert (await failure(served.resolver.Resolve(ResolveRequest()))).reason == "INVALID_FIELD"
            assert (await failure(served.resolver.Watch(WatchRequest()).read())).reason == "INVALID_FIELD"
        await served.resolver.Resolve(ResolveRequest(service=SERVICE))


async def test_callers_without_identity_may_be_kept_to_reading() -> None:
    async with serve(environment={"SIRA_AUTHORIZATION_ANONYMOUS": "read"}) as served:
        await served.resolver.Resolve(ResolveRequest(service=SERVICE))
        held = served.registry.HoldLease(iter([HoldLeaseRequest()]))
        told = await failure(held.read())
        assert (told.code, told.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_the_authorizer_can_be_another() -> None:
    class Nobody:
        def authorize(self, call: Call) -> None:
            raise PermissionDenied(f"{call.caller} may not {call.method.name}")

        def authorize_request(self, call: Call, message: Message) -> None:
            """Not reached."""

    async with serve(authorizer=Nobody()) as served:
        told = await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE)))
        assert told.message == "127.0.0.1 may not sira.registry.v1.ResolverService/Resolve"
