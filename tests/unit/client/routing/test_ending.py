from __future__ import annotations

import asyncio

import grpc
import pytest

from tests.unit.client.echo import Echo
from tests.unit.client.routing.routes import BOTH, ONE, InOrder, Make


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
