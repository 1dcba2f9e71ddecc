from __future__ import annotations

import asyncio

import grpc
import pytest

from tests.unit.client.routing.routes import BOTH, IN, ONE, OUT, InOrder, Make, requests


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
    assert ("trailing", "yes") in list(await call.trailing_metadata())
    assert "initial" not in [key for key, _ in await call.initial_metadata()]
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


async def test_metadata_and_request_reach_router_and_server(make: Make, router: InOrder) -> None:
    assert await make().unary_unary(ONE)(b"meta", metadata=(("k", "v"),), wait_for_ready=True) == b"v"
    info = router.infos[0]
    assert (info.request, info.metadata, info.wait_for_ready) == (b"meta", (("k", "v"),), True)


async def test_serializers_are_used(make: Make) -> None:
    assert await make().unary_unary(ONE, str.encode, bytes.decode)("") == "echo"


async def test_a_stream_that_cannot_be_opened_for_another_reason_raises_it(make: Make, router: InOrder) -> None:
    router.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await make().stream_stream(BOTH)().code()
