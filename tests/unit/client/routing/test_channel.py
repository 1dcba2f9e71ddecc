from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import grpc
import pytest
from sira_client.routing import CallInfo, RetryPolicy, Route, RoutedChannel

from tests.unit.client.echo import Echo

ONE, OUT, IN, BOTH = (f"/test.Echo/{name}" for name in ("One", "Out", "In", "Both"))


class Direct:
    """A route to one server."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self.carried = 0
        self.failures = 0

    def carry(self, call: grpc.aio.Call) -> None:
        self.carried += 1

    def failed(self) -> None:
        self.failures += 1


class InOrder:
    """A router that goes through its routes in order, once `open` is set."""

    def __init__(self, *routes: Direct) -> None:
        self.routes = routes
        self.open = asyncio.Event()
        self.open.set()
        self.infos: list[CallInfo] = []
        self.error: Exception | None = None

    async def route(self, info: CallInfo, tried: Collection[Route]) -> Route | None:
        self.infos.append(info)
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return next((route for route in self.routes if route not in tried), None)


class Channel(RoutedChannel):
    """A routed channel that says nothing of its connectivity."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await asyncio.Event().wait()

    async def channel_ready(self) -> None:
        """It is."""


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    server = Echo()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def second() -> AsyncIterator[Echo]:
    server = Echo("second")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def router(echo: Echo, second: Echo) -> AsyncIterator[InOrder]:
    made = InOrder(Direct(echo.address), Direct(second.address))
    yield made
    for route in made.routes:
        await route.channel.close()


Make = Callable[..., Channel]


@pytest.fixture
async def make(router: InOrder) -> AsyncIterator[Make]:
    made: list[Channel] = []

    def one(retry: RetryPolicy | None = None, default_timeout: float | None = 20, **more: Any) -> Channel:
        made.append(Channel(router, retry=retry or RetryPolicy(), default_timeout=default_timeout, **more))
        return made[-1]

    yield one
    for channel in made:
        await channel.close()


async def requests(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def test_each_shape_of_call_goes_through(make: Make, router: InOrder) -> None:
    channel = make()
    assert await channel.unary_unary(ONE)(b"") == b"echo"
    assert [m async for m in channel.unary_stream(OUT)(b"")] == [b"echo0", b"echo1", b"echo2"]
    assert await channel.stream_unary(IN)(requests(b"a", b"b")) == b"echoab"
    assert [m async for m in channel.stream_stream(BOTH)(requests(b"a", b"b"))] == [b"echoa", b"echob"]
    assert router.routes[0].carried == 4
    assert [info.method for info in router.infos] == [ONE, OUT, IN, BOTH]


async def test_streams_can_be_read_and_written_by_hand(make: Make) -> None:
    channel = make()
    out = channel.unary_stream(OUT)(b"")
    assert await out.read() == b"echo0"
    assert await out.read() == b"echo1"
    assert await out.read() == b"echo2"
    assert await out.read() is grpc.aio.EOF
    into = channel.stream_unary(IN)()
    await into.write(b"x")
    await into.done_writing()
    assert await into == b"echox"
    both = channel.stream_stream(BOTH)()
    await both.wait_for_connection()
    await both.write(b"x")
    assert await both.read() == b"echox"
    await both.done_writing()
    assert await both.read() is grpc.aio.EOF
    assert await both.code() is grpc.StatusCode.OK
    assert await both.details() == ""
    assert both.done()
    assert not both.cancelled()


async def test_a_call_tells_what_it_knows_when_it_went_well(make: Make) -> None:
    call = make().unary_unary(ONE)(b"")
    done = asyncio.Event()
    call.add_done_callback(lambda ended: done.set() if ended is call else None)
    remaining = call.time_remaining()
    assert remaining is not None
    assert 0 < remaining <= 20
    await call.wait_for_connection()
    await done.wait()
    assert (await call.initial_metadata())["initial"] == "yes"
    assert (await call.trailing_metadata())["trailing"] == "yes"
    assert (await call.code(), await call.details(), await call.debug_error_string()) == (grpc.StatusCode.OK, "", "")
    assert call.done()
    assert not call.cancelled()
    assert not call.cancel()


async def test_a_call_tells_what_it_knows_when_it_failed(make: Make) -> None:
    call = make(default_timeout=None).unary_unary(ONE)(b"fail:DATA_LOSS")
    assert call.time_remaining() is None
    with pytest.raises(grpc.aio.AioRpcError, match="as asked"):
        await call.wait_for_connection()
    assert (await call.code(), await call.details()) == (grpc.StatusCode.DATA_LOSS, "as asked")
    assert dict(await call.trailing_metadata()) == {"trailing": "yes"}
    assert "initial" not in dict(await call.initial_metadata())
    assert "as asked" in await call.debug_error_string()


async def test_a_stream_tells_what_it_knows(make: Make) -> None:
    call = make().unary_stream(OUT)(b"fail", timeout=20)
    done = asyncio.Event()
    call.add_done_callback(lambda ended: done.set() if ended is call else None)
    assert await call.code() is grpc.StatusCode.DATA_LOSS
    assert await call.details() == "as asked"
    assert await call.initial_metadata() is not None
    assert await call.trailing_metadata() is not None
    await done.wait()
    assert call.done()
    with pytest.raises(grpc.aio.AioRpcError):
        await call.read()


@pytest.mark.parametrize("method", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_call_without_a_route_fails_as_the_router_says(make: Make, router: InOrder, method: str) -> None:
    router.error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, None, None, "nobody there")
    streams = method.startswith("stream")
    call = getattr(make(), method)(ONE)(*([] if streams else [b""]))
    done = asyncio.Event()
    call.add_done_callback(lambda _: done.set())
    await done.wait()
    assert (await call.code(), await call.details()) == (grpc.StatusCode.UNAVAILABLE, "nobody there")
    assert not list(await call.initial_metadata())
    assert not list(await call.trailing_metadata())
    assert call.done()
    with pytest.raises(grpc.aio.AioRpcError, match="nobody there"):
        await call.wait_for_connection()


@pytest.mark.parametrize("method", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_deadline_counts_while_a_route_is_looked_for(make: Make, router: InOrder, method: str) -> None:
    router.open.clear()
    streams = method.startswith("stream")
    call = getattr(make(), method)(ONE)(*([] if streams else [b""]), timeout=0.01)
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "waiting for a connection" in await call.details()


@pytest.mark.parametrize("method", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_call_can_be_cancelled_while_a_route_is_looked_for(make: Make, router: InOrder, method: str) -> None:
    router.open.clear()
    streams = method.startswith("stream")
    call = getattr(make(), method)(ONE)(*([] if streams else [b""]))
    assert not call.cancelled()
    assert call.cancel()
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert "cancelled" in await call.details()


async def test_cancelling_a_waiter_cancels_its_call(make: Make, echo: Echo) -> None:
    call = make().unary_unary(ONE)(b"wait")
    waiter = asyncio.ensure_future(call)
    await echo.under_way.acquire()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_giving_up_on_the_status_does_not_cancel_the_call(make: Make, echo: Echo) -> None:
    call = make().unary_unary(ONE)(b"wait")
    await echo.under_way.acquire()
    asking = asyncio.ensure_future(call.code())
    await asyncio.sleep(0)
    asking.cancel()
    echo.release.set()
    assert await call == b"echo"


async def test_cancelling_a_stream_under_way(make: Make) -> None:
    call = make().stream_stream(BOTH)()
    await call.write(b"x")
    assert await call.read() == b"echox"
    assert call.cancel()
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_a_call_that_was_never_sent_goes_again_whatever_it_is(make: Make, router: InOrder, echo: Echo) -> None:
    await echo.stop()
    assert await make().unary_unary(ONE)(b"") == b"second"
    assert [route.failures for route in router.routes] == [1, 0]


async def test_a_call_that_may_have_been_seen_does_not_go_again(make: Make, echo: Echo, second: Echo) -> None:
    call = make().unary_unary(ONE)(b"wait")
    await echo.under_way.acquire()
    await echo.stop()
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert second.calls == 0


@pytest.mark.parametrize("idempotent", [True, frozenset({ONE})])
async def test_an_idempotent_call_goes_again(
    make: Make, echo: Echo, second: Echo, idempotent: bool | frozenset[str]
) -> None:
    second.release.set()
    call = make(RetryPolicy(idempotent=idempotent)).unary_unary(ONE)(b"wait")
    await echo.under_way.acquire()
    await echo.stop()
    assert await call == b"second"


async def test_only_unavailable_goes_again(make: Make, second: Echo) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="INTERNAL"):
        await make(RetryPolicy(idempotent=True)).unary_unary(ONE)(b"fail:INTERNAL")
    assert second.calls == 0


async def test_attempts_end(make: Make, echo: Echo, second: Echo) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await make(RetryPolicy(idempotent=True, max_attempts=1)).unary_unary(ONE)(b"fail:UNAVAILABLE")
    assert (echo.calls, second.calls) == (1, 0)
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await make(RetryPolicy(idempotent=True)).unary_unary(ONE)(b"fail:UNAVAILABLE")
    assert (echo.calls, second.calls) == (2, 1)


async def test_an_error_is_translated_for_the_caller(make: Make) -> None:
    class Translated(grpc.aio.AioRpcError):
        pass

    channel = make(translate=lambda error: Translated(error.code(), details=error.details()))
    with pytest.raises(Translated, match="as asked"):
        await channel.unary_unary(ONE)(b"fail:INTERNAL")


async def test_metadata_and_request_reach_router_and_server(make: Make, router: InOrder) -> None:
    assert await make().unary_unary(ONE)(b"meta", metadata=(("k", "v"),), wait_for_ready=True) == b"v"
    info = router.infos[0]
    assert (info.request, info.metadata, info.wait_for_ready) == (b"meta", (("k", "v"),), True)


async def test_serializers_are_used(make: Make) -> None:
    assert await make().unary_unary(ONE, str.encode, bytes.decode)("") == "echo"


async def test_closing_lets_calls_finish_within_the_grace(make: Make, echo: Echo) -> None:
    channel = make()
    call = channel.unary_unary(ONE)(b"wait")
    await echo.under_way.acquire()
    closing = asyncio.ensure_future(channel.close(20))
    await asyncio.sleep(0)
    with pytest.raises(grpc.aio.UsageError, match="closed"):
        channel.unary_unary(ONE)(b"")
    echo.release.set()
    await closing
    assert await call == b"echo"


async def test_closing_cancels_what_does_not_finish(make: Make, echo: Echo, router: InOrder) -> None:
    async with make() as channel:
        call = channel.unary_unary(ONE)(b"wait")
        await echo.under_way.acquire()
        router.open.clear()
        stream = channel.stream_stream(BOTH)()
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert await stream.code() is grpc.StatusCode.CANCELLED


async def test_a_stream_that_cannot_be_opened_for_another_reason_raises_it(make: Make, router: InOrder) -> None:
    router.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await make().stream_stream(BOTH)().code()
