from __future__ import annotations

from datetime import timedelta

from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.retry_policy_pb2 import RetryOn, RetryPolicy

from sira_grpc.xds.retries import retry_policy, transparent_retries
from tests.unit.xds.policies import ENVOY_NODE, PYTHON

MS = timedelta(milliseconds=1)


def policy(text: str) -> RetryPolicy:
    return text_format.Parse(text, RetryPolicy())


def test_defaults() -> None:
    told = retry_policy(policy("retry_on: RETRY_ON_UNAVAILABLE"), PYTHON)

    assert told.retry_on == "unavailable"
    assert told.num_retries.value == 1
    assert told.retry_back_off.base_interval.ToTimedelta() == 25 * MS
    assert told.retry_back_off.max_interval.ToTimedelta() == 250 * MS
    assert not told.retry_host_predicate


def test_attempts_are_told_as_retries() -> None:
    assert retry_policy(policy("max_attempts: 5 retry_on: RETRY_ON_INTERNAL"), PYTHON).num_retries.value == 4


def test_every_condition_has_a_name() -> None:
    every = [code for code in RetryOn.values() if code]
    told = retry_policy(RetryPolicy(retry_on=every), PYTHON)
    assert told.retry_on == "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable"


def test_to_an_envoy_a_lost_connection_is_no_status() -> None:
    told = retry_policy(policy("retry_on: RETRY_ON_UNAVAILABLE"), ENVOY_NODE)
    assert told.retry_on == "unavailable,connect-failure,refused-stream,reset"
    assert told.retry_host_predicate[0].name == "envoy.retry_host_predicates.previous_hosts"

    assert retry_policy(policy("retry_on: RETRY_ON_INTERNAL"), ENVOY_NODE).retry_on == "internal"


def test_an_envoy_tries_again_unasked_what_no_server_has_seen() -> None:
    told = transparent_retries()
    assert "reset-before-request" in told.retry_on.split(",")
    assert "reset" not in told.retry_on.split(",")
    assert told.num_retries.value > 0


@given(initial=st.integers(0, 60_000_000_000), longest=st.integers(0, 600_000_000_000))
def test_no_client_rejects_the_pauses(initial: int, longest: int) -> None:
    """They want at least a millisecond, and the longest not below the first."""
    asked = RetryPolicy(retry_on=[RetryOn.RETRY_ON_UNAVAILABLE])
    asked.initial_backoff.FromNanoseconds(initial)
    asked.max_backoff.FromNanoseconds(longest)
    told = retry_policy(asked, PYTHON).retry_back_off

    first, last = told.base_interval.ToTimedelta(), told.max_interval.ToTimedelta()
    assert first >= MS
    assert last >= first
    if longest >= initial >= 1_000_000:
        assert (first, last) == (asked.initial_backoff.ToTimedelta(), asked.max_backoff.ToTimedelta())
