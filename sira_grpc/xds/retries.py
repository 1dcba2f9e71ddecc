"""Retries: which calls a client tries again. Sources: gRFC A44; Envoy's documentation of the router filter."""

from __future__ import annotations

from datetime import timedelta

from envoy.config.route.v3.route_components_pb2 import RetryPolicy as XdsRetryPolicy
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value
from sira.registry.v1.retry_policy_pb2 import RetryOn, RetryPolicy

from sira_grpc.xds.node import Node
from sira_grpc.xds.packing import packed

DEFAULT_ATTEMPTS = 2
DEFAULT_BACKOFF = timedelta(milliseconds=25)
LONGEST_BACKOFF = 10
"""Default of the longest pause, in first pauses."""

_NAMES = {
    RetryOn.RETRY_ON_CANCELLED: "cancelled",
    RetryOn.RETRY_ON_DEADLINE_EXCEEDED: "deadline-exceeded",
    RetryOn.RETRY_ON_INTERNAL: "internal",
    RetryOn.RETRY_ON_RESOURCE_EXHAUSTED: "resource-exhausted",
    RetryOn.RETRY_ON_UNAVAILABLE: "unavailable",
}
_UNPROCESSED = ("connect-failure", "refused-stream", "reset-before-request")
_LOST = ("connect-failure", "refused-stream", "reset")
_TRANSPARENT_RETRIES = 2
_OTHER_HOST_ATTEMPTS = 3
_SHORTEST = timedelta(milliseconds=1)  # clients take less for zero, which they reject


def retry_policy(policy: RetryPolicy, node: Node) -> XdsRetryPolicy:
    """Returns what a client is told of a policy of retries."""
    conditions = [_NAMES[code] for code in policy.retry_on]
    if node.envoy and RetryOn.RETRY_ON_UNAVAILABLE in policy.retry_on:
        # A client of gRPC has UNAVAILABLE for a connection that is lost; to Envoy that is no status.
        conditions += _LOST
    told = XdsRetryPolicy(
        retry_on=",".join(conditions),
        num_retries=UInt32Value(value=(policy.max_attempts or DEFAULT_ATTEMPTS) - 1),
        retry_back_off=_back_off(policy),
    )
    return _elsewhere(told) if node.envoy else told


def transparent_retries() -> XdsRetryPolicy:
    """Returns what an Envoy does without a policy: it tries calls again that no server has seen.

    So does every client of gRPC, unasked: gRFC A6, transparent retries.
    """
    retries = UInt32Value(value=_TRANSPARENT_RETRIES)
    return _elsewhere(XdsRetryPolicy(retry_on=",".join(_UNPROCESSED), num_retries=retries))


def _back_off(policy: RetryPolicy) -> XdsRetryPolicy.RetryBackOff:
    first = max(policy.initial_backoff.ToTimedelta() or DEFAULT_BACKOFF, _SHORTEST)
    longest = max(policy.max_backoff.ToTimedelta() or first * LONGEST_BACKOFF, first)
    told = XdsRetryPolicy.RetryBackOff(base_interval=Duration(), max_interval=Duration())
    told.base_interval.FromTimedelta(first)
    told.max_interval.FromTimedelta(longest)
    return told


def _elsewhere(told: XdsRetryPolicy) -> XdsRetryPolicy:
    """Has each attempt go to another endpoint, as long as one is found within a few draws."""
    predicate = told.retry_host_predicate.add(name="envoy.retry_host_predicates.previous_hosts")
    predicate.typed_config.CopyFrom(packed(PreviousHostsPredicate()))
    told.host_selection_retry_max_attempts = _OTHER_HOST_ATTEMPTS
    return told
