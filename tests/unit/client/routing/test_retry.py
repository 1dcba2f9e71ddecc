from __future__ import annotations

import grpc
import pytest
from sira_client.routing import RetryPolicy

from tests.unit.client.echo import Echo
from tests.unit.client.routing.routes import ONE, InOrder, Make


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

    def translate(error: grpc.aio.AioRpcError) -> Translated:
        return Translated(error.code(), error.initial_metadata(), error.trailing_metadata(), error.details())

    channel = make(translate=translate)
    with pytest.raises(Translated, match="as asked"):
        await channel.unary_unary(ONE)(b"fail:INTERNAL")
