from __future__ import annotations

from random import Random

import grpc
import pytest
from sira.registry.v1.retry_policy_pb2 import RETRY_ON_CANCELLED, RETRY_ON_UNAVAILABLE, RetryOn, RetryPolicy
from sira_client.routing.retries import WRITTEN_TOO_LATE, Retries

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def failed(code: grpc.StatusCode = UNAVAILABLE, pushback: str | None = None) -> grpc.aio.AioRpcError:
    trailing = () if pushback is None else (("grpc-retry-pushback-ms", pushback),)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing))


def retries(**fields: int) -> Retries:
    policy = RetryPolicy(max_attempts=fields.get("attempts", 0), retry_on=[RETRY_ON_UNAVAILABLE])
    policy.initial_backoff.FromMilliseconds(fields.get("first", 0))
    policy.max_backoff.FromMilliseconds(fields.get("longest", 0))
    return Retries.of(policy, Random(1))


def test_by_default_a_call_goes_once_more() -> None:
    found = retries()
    pause = found.pause(failed())
    assert pause is not None
    assert 0.020 <= pause <= 0.030
    assert found.pause(failed()) is None


def test_pauses_double_up_to_the_longest() -> None:
    found = retries(attempts=5, first=100, longest=300)
    for expected in (0.1, 0.2, 0.3, 0.3):
        pause = found.pause(failed())
        assert pause is not None
        assert expected * 0.8 <= pause <= expected * 1.2
    ten_times = retries(attempts=5, first=1)
    assert ten_times.longest == pytest.approx(0.01)


@pytest.mark.parametrize("on", [on for on in RetryOn.values() if on])
def test_what_is_tried_again(on: RetryOn.ValueType) -> None:
    name = RetryOn.Name(on).removeprefix("RETRY_ON_")
    found = Retries.of(RetryPolicy(retry_on=[on]), Random(1))
    others = [code for code in grpc.StatusCode if code.name != name]
    assert all(found.pause(failed(code)) is None for code in others)
    assert found.pause(failed(grpc.StatusCode[name])) is not None


def test_a_write_to_a_call_that_has_ended_hides_that_its_server_is_gone() -> None:
    none = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, none, none, WRITTEN_TOO_LATE)
    assert retries().pause(error) is not None
    assert Retries.of(RetryPolicy(retry_on=[RETRY_ON_CANCELLED]), Random(1)).pause(error) is None


@pytest.mark.parametrize(("pushback", "expected"), [("0", 0.0), ("1500", 1.5), ("-1", None), ("soon", None)])
def test_what_the_server_asks_for(pushback: str, expected: float | None) -> None:
    found = retries(attempts=2)
    assert found.pause(failed(pushback=pushback)) == expected
    assert found.left == (1 if expected is None else 0)


def test_a_policy_of_another_time_is_understood_as_far_as_it_goes() -> None:
    policy = RetryPolicy(retry_on=[RETRY_ON_CANCELLED])
    policy.retry_on.append(99)  # type: ignore[arg-type]  # there may be more one day
    assert Retries.of(policy, Random(1)).statuses == {grpc.StatusCode.CANCELLED}
