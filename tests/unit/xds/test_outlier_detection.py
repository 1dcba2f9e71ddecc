from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.outlier_detection_pb2 import FailurePercentage, OutlierDetection, SuccessRate

from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN, Node
from sira_grpc.xds.outlier_detection import outlier_detection

KINDS = [C_CORE, GO, JAVA, NODE_JS, UNKNOWN, ENVOY]


def made(told: OutlierDetection, kind: Any = GO) -> Any:
    return outlier_detection(told, Node("n", kind=kind))


@pytest.mark.parametrize("kind", KINDS)
def test_all_is_said(kind: Any) -> None:
    by_failure = made(OutlierDetection(failure_percentage=FailurePercentage()), kind)
    by_success = made(OutlierDetection(success_rate=SuccessRate()), kind)
    for found, failure, success in ((by_failure, 100, 0), (by_success, 0, 100)):
        assert found.HasField("enforcing_failure_percentage")
        assert found.HasField("enforcing_success_rate")
        assert found.enforcing_failure_percentage.value == failure
        assert found.enforcing_success_rate.value == success
        assert found.interval.seconds == 10
        assert found.base_ejection_time.seconds == 30
        assert found.max_ejection_time.seconds == 300
        assert found.max_ejection_percent.value == 10
        assert found.failure_percentage_threshold.value == 85
        assert found.failure_percentage_request_volume.value == 50
        assert found.success_rate_stdev_factor.value == 1900
        assert found.success_rate_request_volume.value == 100


def test_what_is_told() -> None:
    told = OutlierDetection(
        interval=Duration(nanos=500_000_000),
        base_ejection_time=Duration(seconds=1),
        max_ejection_time=Duration(seconds=2),
        max_ejection_percent=50,
        failure_percentage=FailurePercentage(threshold=40, minimum_hosts=2, request_volume=3),
        success_rate=SuccessRate(stdev_factor=1000, minimum_hosts=4, request_volume=5),
    )
    found = made(told)
    assert found.interval.nanos == 500_000_000
    assert (found.base_ejection_time.seconds, found.max_ejection_time.seconds) == (1, 2)
    assert found.max_ejection_percent.value == 50
    assert found.failure_percentage_threshold.value == 40
    assert found.failure_percentage_minimum_hosts.value == 2
    assert found.failure_percentage_request_volume.value == 3
    assert found.success_rate_stdev_factor.value == 1000
    assert found.success_rate_minimum_hosts.value == 4
    assert found.success_rate_request_volume.value == 5
    assert found.enforcing_failure_percentage.value == found.enforcing_success_rate.value == 100


def test_the_longest_ejection_is_no_shorter_than_the_first() -> None:
    told = OutlierDetection(base_ejection_time=Duration(seconds=600), success_rate=SuccessRate())
    assert made(told).max_ejection_time.seconds == 600


def test_an_envoy_judges_by_nothing_else() -> None:
    told = OutlierDetection(success_rate=SuccessRate())
    found = made(told, ENVOY)
    for field in ("enforcing_consecutive_5xx", "enforcing_consecutive_gateway_failure"):
        assert found.HasField(field)
        assert getattr(found, field).value == 0
    assert found.always_eject_one_host.value
    assert not made(told).HasField("enforcing_consecutive_5xx")
