"""What callers are told of calls that fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest, HoldLeaseResponse, ReportLoadRequest
from sira.registry.v1.resolver_service_pb2 import ResolveRequest, ResolveResponse, WatchRequest, WatchResponse

from sira_grpc.config import ServerConfig
from sira_grpc.errors import ServiceNotFound, SiraError
from sira_grpc.rpc.call import Context
from tests.integration.edge_server import REGISTRY, RESOLVER, SERVICE, Failure, Script, Served, failure, serve
from tests.raw_call import request

SECRET = "password=hunter2"


class Failing(Script):
    """Each method raises."""

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self.error = error

    async def resolve(self, request: ResolveRequest, context: Context) -> Any:
        raise self.error()

    async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
        yield WatchResponse(revision=1)
        raise self.error()

    async def report_load(self, requests: AsyncIterator[ReportLoadRequest], context: Context) -> Any:
        raise self.error()

    async def hold_lease(self, requests: AsyncIterator[HoldLeaseRequest], context: Context) -> AsyncIterator[Any]:
        raise self.error()
        yield  # makes it a generator


async def drained(stream: AsyncIterator[Any]) -> list[Any]:
    return [message async for message in stream]


async def failures(served: Served) -> list[Failure]:
    """One call of each shape."""
    return [
        await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE))),
        await failure(drained(aiter(served.resolver.Watch(WatchRequest(service=SERVICE))))),
        await failure(served.registry.ReportLoad(iter([ReportLoadRequest()]))),
        await failure(drained(aiter(served.registry.HoldLease(iter([HoldLeaseRequest()]))))),
    ]


async def test_a_known_error_is_told_as_it_is() -> None:
    async with serve(Failing(lambda: ServiceNotFound("no such service", metadata={"name": "x"}))) as served:
        for told in await failures(served):
            assert told.code is grpc.StatusCode.NOT_FOUND
            assert told.message == "no such service"
            assert told.reason == "SERVICE_NOT_FOUND"
            assert told.metadata == {"name": "x"}


@pytest.mark.parametrize("error", [RuntimeError(SECRET), SiraError(SECRET), ExceptionGroup(SECRET, [OSError(SECRET)])])
async def test_a_defect_is_logged_and_not_told(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(Failing(lambda: error)) as served:
        for number, told in enumerate(await failures(served), start=1):
            assert told.code is grpc.StatusCode.INTERNAL
            assert told.message == "internal error"
            assert told.reason == "INTERNAL"
            assert told.metadata == {"correlation_id": f"id-{number}"}
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.name for record in logged] == ["sira_grpc.rpc.interceptors.errors"] * 4
    assert "id-1" in logged[0].message
    assert logged[0].exc_info is not None
    assert logged[0].exc_info[1] is error


async def test_an_inner_cancellation_that_escapes_is_a_defect() -> None:
    async with serve(Failing(asyncio.CancelledError)) as served:
        for told in await failures(served):
            assert told.code is grpc.StatusCode.INTERNAL


async def test_an_answer_of_the_wrong_type_is_a_defect() -> None:
    class Wrong(Script):
        async def resolve(self, request: ResolveRequest, context: Context) -> Any:
            return "text"

        async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
            yield 5

    async with serve(Wrong()) as served:
        told = await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE)))
        assert (told.code, told.message) == (grpc.StatusCode.INTERNAL, "internal error")
        told = await failure(drained(aiter(served.resolver.Watch(WatchRequest(service=SERVICE)))))
        assert (told.code, told.message) == (grpc.StatusCode.INTERNAL, "internal error")


async def test_an_abort_of_a_servicer_is_sent_as_it_is() -> None:
    class Aborting(Script):
        async def resolve(self, request: ResolveRequest, context: Context) -> Any:
            await context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    async with serve(Aborting()) as served:
        told = await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE)))
        assert (told.code, told.message) == (grpc.StatusCode.DATA_LOSS, "gone")


async def test_every_rule_that_a_request_breaks_is_named() -> None:
    async with serve() as served:
        told = await failure(served.resolver.Resolve(ResolveRequest(service="Orders", client_id="x" * 256)))
        assert told.code is grpc.StatusCode.INVALID_ARGUMENT
        assert told.reason == "INVALID_FIELD"
        assert set(told.violations) == {"service", "client_id"}
        assert "does not match regex pattern" in told.violations["service"]
        assert "255" in told.violations["client_id"]
        told = await failure(drained(aiter(served.resolver.Watch(WatchRequest(service=SERVICE, start_revision=-1)))))
        assert set(told.violations) == {"start_revision"}


async def test_each_message_of_a_stream_is_checked() -> None:
    good = Endpoint(name=f"{SERVICE}/endpoints/a", addresses=["10.0.0.1"], port=80)
    bad = Endpoint(name=f"{SERVICE}/endpoints/a", addresses=["10.0.0.1"], port=70_000)
    async with serve() as served:
        call = served.registry.HoldLease()
        await call.write(HoldLeaseRequest(lease_key="k", endpoints=[good]))
        answer = await call.read()
        assert isinstance(answer, HoldLeaseResponse)
        await call.write(HoldLeaseRequest(endpoints=[good, bad]))
        told = await failure(call.read())
        assert told.code is grpc.StatusCode.INVALID_ARGUMENT
        assert set(told.violations) == {"endpoints[1].port"}
        told = await failure(served.registry.ReportLoad(iter([ReportLoadRequest(lease_key="x" * 129)])))
        assert set(told.violations) == {"lease_key"}


async def test_what_is_no_message_is_told_without_the_details_of_the_parser() -> None:
    async with serve() as served:
        told = await failure(served.raw.unary_unary(f"/{RESOLVER}/Resolve")(b"\xff\xff\xff"))
        assert told.code is grpc.StatusCode.INVALID_ARGUMENT
        assert told.violations == {"request": "is not a readable message of its type"}
        told = await failure(served.raw.stream_unary(f"/{REGISTRY}/ReportLoad")(iter([b"\xff\xff\xff"])))
        assert told.violations == {"request": "is not a readable message of its type"}


async def test_a_message_above_the_limit_is_refused() -> None:
    config = ServerConfig(addresses=("127.0.0.1:0",), max_message_bytes=2048)
    async with serve(server=config) as served:
        told = await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE, hash_key="x" * 3000)))
        assert told.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await served.resolver.Resolve(ResolveRequest(service=SERVICE, hash_key="x" * 1000))).revision == 1


async def test_a_deadline_ends_the_servicer() -> None:
    ended = asyncio.Event()

    class Slow(Script):
        async def resolve(self, request: ResolveRequest, context: Context) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return ResolveResponse()

    async with serve(Slow()) as served:
        told = await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE), timeout=0.05))
        assert told.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await ended.wait()


@pytest.mark.parametrize("path", [b"/sira.registry.v1.ResolverService/\xdc", b"\xff", b"/\xe2\x82/a"])
async def test_a_method_whose_name_is_no_text_ends_nothing(path: bytes) -> None:
    async with serve() as served:
        host, port = served.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request(path))
        async with asyncio.timeout(10):
            while b"grpc-status" not in await reader.read(4096):
                pass
        writer.close()
        assert (await served.resolver.Resolve(ResolveRequest(service=SERVICE))).revision == 1
