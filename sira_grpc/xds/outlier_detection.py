"""Outlier detection: which endpoints a client leaves out for a while. Sources: gRFC A50; Envoy's outlier detection."""

from __future__ import annotations

from envoy.config.cluster.v3 import outlier_detection_pb2 as envoy
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value
from sira.registry.v1.outlier_detection_pb2 import OutlierDetection

from sira_grpc.times import duration, seconds
from sira_grpc.xds.node import Node

DEFAULT_INTERVAL = 10.0
DEFAULT_BASE_EJECTION_TIME = 30.0
DEFAULT_MAX_EJECTION_TIME = 300.0
DEFAULT_MAX_EJECTION_PERCENT = 10
DEFAULT_FAILURE_THRESHOLD = 85
DEFAULT_FAILURE_REQUEST_VOLUME = 50
DEFAULT_STDEV_FACTOR = 1900
DEFAULT_SUCCESS_REQUEST_VOLUME = 100
DEFAULT_MINIMUM_HOSTS = 5
ALWAYS = 100
NEVER = 0


def outlier_detection(told: OutlierDetection, node: Node) -> envoy.OutlierDetection:
    """Returns the outlier detection of a cluster. All is said: what is left out differs from kind to kind."""
    base = _seconds(told.base_ejection_time, DEFAULT_BASE_EJECTION_TIME)
    longest = _seconds(told.max_ejection_time, DEFAULT_MAX_EJECTION_TIME)
    failure, success = told.failure_percentage, told.success_rate
    by_failure, by_success = told.HasField("failure_percentage"), told.HasField("success_rate")
    made = envoy.OutlierDetection(
        interval=duration(_seconds(told.interval, DEFAULT_INTERVAL)),
        base_ejection_time=duration(base),
        max_ejection_time=duration(max(base, longest)),
        max_ejection_percent=_number(told.max_ejection_percent, DEFAULT_MAX_EJECTION_PERCENT),
        enforcing_failure_percentage=_number(ALWAYS if by_failure else NEVER),
        failure_percentage_threshold=_number(failure.threshold, DEFAULT_FAILURE_THRESHOLD),
        failure_percentage_minimum_hosts=_number(failure.minimum_hosts, DEFAULT_MINIMUM_HOSTS),
        failure_percentage_request_volume=_number(failure.request_volume, DEFAULT_FAILURE_REQUEST_VOLUME),
        enforcing_success_rate=_number(ALWAYS if by_success else NEVER),
        success_rate_stdev_factor=_number(success.stdev_factor, DEFAULT_STDEV_FACTOR),
        success_rate_minimum_hosts=_number(success.minimum_hosts, DEFAULT_MINIMUM_HOSTS),
        success_rate_request_volume=_number(success.request_volume, DEFAULT_SUCCESS_REQUEST_VOLUME),
    )
    if node.envoy:  # it has more ways to judge than were asked for
        made.enforcing_consecutive_5xx.CopyFrom(_number(NEVER))
        made.enforcing_consecutive_gateway_failure.CopyFrom(_number(NEVER))
        made.always_eject_one_host.CopyFrom(BoolValue(value=True))
    return made


def _seconds(told: Duration, default: float) -> float:
    return seconds(told) or default


def _number(told: int, default: int = NEVER) -> UInt32Value:
    return UInt32Value(value=told or default)
