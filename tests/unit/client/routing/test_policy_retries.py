from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from sira_client.routing.replay import KEPT_BYTES

from tests.unit.client.flaky import Flaky
from tests.unit.client.routing.policies import Policy, retrying
from tests.unit.client.routing.routes import BOTH, IN, ONE, OUT, Channel, Direct, InOrder, Make, requests

UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL
SHAPES = ["One", "Out", "In", "Both"]


@pytest.fixture
async def flaky() -> AsyncIterator[Flaky]:
    server = Flaky()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def router(flaky: Flaky) -> AsyncIterator[InOrder]:
    made = InOrder(Direct(flaky.address))
    yield made
    for route in made.routes:
        await route.channel.close()


@pytest.fixture
def policy(router: InOrder) -> Policy:
    return retrying(router)


@pytest.fixture
def channel(make: Make, policy: Policy) -> Channel:
    return make(selector=policy)


def begin(channel: Channel, shape: str) -> Any:
    match shape:
        case "One":
            return channel.unary_unary(ONE)(b"", timeout=20)
        case "Out":
            return channel.unary_stream(OUT)(b"", timeout=20)
        case "In":
            return channel.stream_unary(IN)(requests(b"x", b"y"), timeout=20)
        case _:
            return channel.stream_stream(BOTH)(requests(b"x", b"y"), timeout=20)


async def outcome(channel: Channel, shape: str) -> list[bytes]:
    call = begin(channel, shape)
    return [await call] if shape in {"One", "In"} else [answer async for answer in call]


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_call_goes_again_until_it_goes_well(channel: Channel, flaky: Flaky, policy: Policy, shape: str) -> None:
    expected = await outcome(channel, shape)
    flaky.fail(UNAVAILABLE, UNAVAILABLE)
    assert await outcome(channel, shape) == expected
    assert (flaky.started, policy.released) == (4, 2)
    first, second = policy.slept
    assert 0.020 <= first <= 0.030
    assert 0.040 <= second <= 0.060


@pytest.mark.parametrize("shape", SHAPES)
async def test_attempts_end(channel: Channel, flaky: Flaky, policy: Policy, shape: str) -> None:
    flaky.fail(*[UNAVAILABLE] * 4)
    with pytest.raises(grpc.aio.AioRpcError, match="as the test wants it"):
        await outcome(channel, shape)
    assert (flaky.started, policy.released) == (3, 1)
    flaky.failures.clear()
    flaky.fail(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE)
    call = begin(channel, shape)
    assert await call.code() is UNAVAILABLE
    assert await call.details() == "as the test wants it"
    assert not [key for key, _ in await call.initial_metadata()]


@pytest.mark.parametrize("shape", SHAPES)
async def test_other_failures_are_final(channel: Channel, flaky: Flaky, shape: str) -> None:
    flaky.fail(INTERNAL)
    with pytest.raises(grpc.aio.AioRpcError, match="INTERNAL"):
        await outcome(channel, shape)
    assert flaky.started == 1


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_call_whose_answer_has_begun_does_not_go_again(channel: Channel, flaky: Flaky, shape: str) -> None:
    flaky.headers = True
    flaky.fail(UNAVAILABLE)
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await outcome(channel, shape)
    assert flaky.started == 1


async def test_a_stream_that_breaks_is_not_resumed(channel: Channel, flaky: Flaky) -> None:
    flaky.answers = True
    flaky.fail(UNAVAILABLE)
    call = channel.unary_stream(OUT)(b"")
    assert await call.read() == b"first"
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await call.read()
    assert flaky.started == 1


@pytest.mark.parametrize(("pushback", "expected"), [("70", 0.07), ("-1", None), ("soon", None)])
async def test_a_server_says_when_to_come_back(
    channel: Channel, flaky: Flaky, policy: Policy, pushback: str, expected: float | None
) -> None:
    flaky.trailing = (("grpc-retry-pushback-ms", pushback),)
    flaky.fail(UNAVAILABLE)
    call = channel.unary_unary(ONE)(b"")
    assert await call.code() is (UNAVAILABLE if expected is None else grpc.StatusCode.OK)
    assert policy.slept == ([] if expected is None else [expected])


async def test_a_retry_that_would_come_too_late_is_not_waited_for(
    channel: Channel, flaky: Flaky, policy: Policy
) -> None:
    flaky.trailing = (("grpc-retry-pushback-ms", "60000"),)
    flaky.fail(UNAVAILABLE)
    assert await channel.unary_unary(ONE)(b"", timeout=20).code() is UNAVAILABLE
    assert policy.slept == []


async def test_requests_that_are_written_are_sent_again(channel: Channel, flaky: Flaky) -> None:
    flaky.reads = False
    flaky.fail(UNAVAILABLE, UNAVAILABLE)
    call = channel.stream_stream(BOTH)(timeout=20)
    await call.wait_for_connection()
    await call.write(b"x")
    assert await call.read() == b"flakyx"
    await call.write(b"y")
    assert await call.read() == b"flakyy"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(b"z")


async def test_the_answer_to_requests_that_are_written(channel: Channel, flaky: Flaky) -> None:
    flaky.fail(UNAVAILABLE)
    call = channel.stream_unary(IN)(timeout=20)
    await call.write(b"x")
    await call.write(b"y")
    await call.done_writing()
    with pytest.raises(asyncio.InvalidStateError, match="no requests were to come"):
        await call.write(b"z")
    assert await call == b"flakyxy"
    assert flaky.requests == [[b"x", b"y"]] * 2


async def test_what_is_too_much_to_keep_is_not_sent_again(channel: Channel, flaky: Flaky) -> None:
    flaky.fail(UNAVAILABLE)
    big = [b"x" * (KEPT_BYTES // 2)] * 3
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await channel.stream_unary(IN)(requests(*big), timeout=20)
    assert flaky.started == 1
    assert await channel.stream_unary(IN)(iter(big), timeout=20) == b"flaky" + b"".join(big)


async def test_requests_are_serialized_once(channel: Channel, flaky: Flaky) -> None:
    seen: list[str] = []

    def serialize(text: str) -> bytes:
        seen.append(text)
        return text.encode()

    async def words() -> AsyncIterator[str]:
        yield "x"
        yield "y"

    flaky.fail(UNAVAILABLE)
    assert await channel.stream_unary(IN, serialize, bytes.decode)(words(), timeout=20) == "flakyxy"
    assert seen == ["x", "y"]


async def test_requests_that_fail_end_the_call(channel: Channel) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    call = channel.stream_unary(IN)(broken(), timeout=20)
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_cancelling_while_there_is_no_answer_yet(channel: Channel, flaky: Flaky) -> None:
    call = channel.stream_stream(BOTH)(timeout=20)
    await call.write(b"x")
    await call.wait_for_connection()
    call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert call.cancelled()


async def test_metadata_of_a_call_that_went_again(channel: Channel, flaky: Flaky) -> None:
    flaky.fail(UNAVAILABLE)
    call = channel.unary_unary(ONE)(b"", timeout=20)
    assert (await call.initial_metadata())["initial"] == "yes"
    assert (await call.trailing_metadata())["trailing"] == "yes"


async def test_no_route_is_a_failure_like_any(make: Make, router: InOrder, policy: Policy, flaky: Flaky) -> None:
    router.error = grpc.aio.AioRpcError(UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "nobody there")
    channel = make(selector=policy)
    assert await channel.unary_unary(ONE)(b"").details() == "nobody there"
    assert await channel.stream_stream(BOTH)(requests(b"x")).details() == "nobody there"
    with pytest.raises(grpc.aio.AioRpcError, match="nobody there"):
        await channel.stream_stream(BOTH)().write(b"x")
    assert len(policy.slept) == 6
