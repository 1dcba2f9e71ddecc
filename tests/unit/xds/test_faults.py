from __future__ import annotations

import pytest
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf import text_format
from sira.registry.v1.fault_injection_pb2 import FaultAbort, FaultInjection
from sira.registry.v1.route_pb2 import Route
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds.faults import http_fault, mark, percentage


def fault(text: str) -> FaultInjection:
    return text_format.Parse(text, FaultInjection())


def test_delay_and_abort() -> None:
    told = http_fault(fault("delay { delay { seconds: 2 } percent: 12.5 } abort { code: 14 percent: 100 }"))

    assert told.delay.fixed_delay.seconds == 2
    assert told.delay.percentage.numerator == 125_000
    assert told.abort.grpc_status == 14
    assert told.abort.percentage.numerator == 1_000_000


def test_what_is_not_asked_for_is_not_there() -> None:
    assert not http_fault(fault("delay { delay { seconds: 2 } percent: 1 }")).HasField("abort")
    assert not http_fault(fault("abort { code: 14 percent: 1 }")).HasField("delay")


@pytest.mark.parametrize(
    ("percent", "millionths"),
    [(0.0, 0), (1e-9, 1), (0.0001, 1), (50.0, 500_000), (99.99999, 1_000_000), (100.0, 1_000_000)],
)
def test_shares_are_told_in_millionths_and_never_rounded_to_none(percent: float, millionths: int) -> None:
    told = percentage(percent)
    assert (told.numerator, told.denominator) == (millionths, FractionalPercent.DenominatorType.MILLION)


def test_other_faults_have_another_mark() -> None:
    policies = [
        TrafficPolicy(fault=FaultInjection(abort=FaultAbort(code=14, percent=percent))) for percent in (50, 100)
    ]
    routed = TrafficPolicy(routes=[Route(fault=policies[0].fault)])
    marks = {mark(policy) for policy in policies}
    assert len(marks) == len(policies)
    assert mark(routed)
    assert mark(TrafficPolicy()) == ""
