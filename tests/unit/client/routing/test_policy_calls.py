from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import grpc
import pytest
from sira.registry.v1.fault_injection_pb2 import FaultAbort, FaultDelay, FaultInjection
from sira_client.routing.faults import Fault, draw

from tests.unit.client.echo import Echo
from tests.unit.client.routing.policies import Policy
from tests.unit.client.routing.routes import BOTH, IN, ONE, OUT, Channel, InOrder, Make, requests

ABORTED = grpc.aio.AioRpcError(grpc.StatusCode.ABORTED, grpc.aio.Metadata(), grpc.aio.Metadata(), "Fault injected")
METHODS = {"unary_unary": ONE, "unary_stream": OUT, "stream_unary": IN, "stream_stream": BOTH}


def begin(channel: Channel, shape: str, **arguments: Any) -> Any:
    given = requests(b"x") if shape.startswith("stream") else b""
    return getattr(channel, shape)(METHODS[shape])(given, **arguments)


@pytest.mark.parametrize("shape", METHODS)
async def test_a_fault_fails_a_call_before_it_goes_anywhere(make: Make, router: InOrder, shape: str) -> None:
    policy = Policy(router, fault=Fault(0.5, ABORTED))
    call = begin(make(selector=policy), shape)
    assert (await call.code(), await call.details()) == (grpc.StatusCode.ABORTED, "Fault injected")
    assert (policy.slept, policy.released, router.infos) == ([0.5], 1, [])


@pytest.mark.parametrize("shape", METHODS)
async def test_a_delay_lets_a_call_go_on(make: Make, router: InOrder, shape: str) -> None:
    policy = Policy(router, fault=Fault(0.5, None))
    call = begin(make(selector=policy), shape)
    assert await (call if shape.endswith("unary") else call.read())
    assert (policy.slept, policy.released) == ([0.5], 1)


async def test_a_delay_counts_for_the_deadline(make: Make, router: InOrder) -> None:
    class Stuck(Policy):
        async def _sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    policy = Stuck(router, fault=Fault(0.5, None))
    assert await begin(make(selector=policy), "unary_unary", timeout=0.01).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert policy.released == 1


@pytest.mark.parametrize("shape", METHODS)
@pytest.mark.parametrize("asked", [None, 30.0])
async def test_the_shorter_timeout_counts(make: Make, router: InOrder, shape: str, asked: float | None) -> None:
    router.open.clear()
    call = begin(make(selector=Policy(router, timeout=0.01), default_timeout=None), shape, timeout=asked)
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    patient = begin(make(selector=Policy(router, timeout=30)), shape, timeout=0.01)
    assert await patient.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_timeout_reaches_the_server(make: Make, router: InOrder, echo: Echo) -> None:
    call = begin(make(selector=Policy(router, timeout=30), default_timeout=None), "unary_unary")
    await call
    remaining = call.time_remaining()
    assert remaining is not None
    assert 0 < remaining <= 30


async def test_a_call_that_is_cancelled_needs_no_routes(make: Make, router: InOrder) -> None:
    router.open.clear()
    policy = Policy(router)
    for shape in METHODS:
        call = begin(make(selector=policy), shape)
        await router.asked.acquire()
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED
    assert policy.released == len(METHODS)


async def test_a_stream_that_is_cancelled_at_once_tells_of_it(make: Make, router: InOrder) -> None:
    call = begin(make(selector=Policy(router)), "stream_stream")
    call.cancel()
    assert await call.initial_metadata() == grpc.aio.Metadata()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_a_plain_policy_is_not_asked(make: Make, router: InOrder) -> None:
    policy = Policy(router, fault=Fault(0, ABORTED))
    policy.plain = True
    assert await begin(make(selector=policy), "unary_unary").code() is grpc.StatusCode.OK
    assert policy.asked == 0


def test_faults_are_drawn_by_their_shares() -> None:
    delay = FaultDelay(percent=25)
    delay.delay.FromMilliseconds(1500)
    policy = FaultInjection(delay=delay, abort=FaultAbort(code=8, percent=50))
    random = Random(3)
    drawn = [draw(policy, random) for _ in range(4000)]
    delays = [fault.delay for fault in drawn if fault is not None and fault.delay]
    errors = [fault.error.code() for fault in drawn if fault is not None and fault.error is not None]
    assert set(delays) == {1.5}
    assert set(errors) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert abs(len(delays) - 1000) < 140  # five standard deviations; chance is seeded
    assert abs(len(errors) - 2000) < 160
    assert abs(drawn.count(None) - 1500) < 160


def test_a_fault_of_all_calls_is_of_all() -> None:
    policy = FaultInjection(abort=FaultAbort(code=14, percent=100))
    assert all(draw(policy, Random(seed)) for seed in range(50))
