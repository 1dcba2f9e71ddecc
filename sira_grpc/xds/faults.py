"""Faults: the delays and failures that callers of a service inject into their own calls. Source: gRFC A33."""

from __future__ import annotations

from hashlib import blake2b

from envoy.extensions.filters.common.fault.v3.fault_pb2 import FaultDelay
from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault
from envoy.type.v3.percent_pb2 import FractionalPercent
from sira.registry.v1.fault_injection_pb2 import FaultInjection
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy


def http_fault(fault: FaultInjection) -> HTTPFault:
    """Returns the configuration of the fault filter."""
    told = HTTPFault()
    if fault.HasField("delay"):
        share = percentage(fault.delay.percent)
        told.delay.CopyFrom(FaultDelay(fixed_delay=fault.delay.delay, percentage=share))
    if fault.HasField("abort"):
        share = percentage(fault.abort.percent)
        told.abort.CopyFrom(FaultAbort(grpc_status=fault.abort.code, percentage=share))
    return told


def mark(policy: TrafficPolicy) -> str:
    """Returns a domain that nobody asks for, another one for other faults; empty without any.

    The C core takes a fault of which only the share of calls has changed for the same one (grpc 1.85: the equality of
    its fault filter's configuration), and Node one that is new (@grpc/grpc-js-xds 1.14: of what is configured by filter
    it compares what there was before), and go on as before; a domain is something that they compare.
    """
    faults = [policy.fault, *(route.fault for route in policy.routes)]
    told = b"".join(fault.SerializeToString(deterministic=True) for fault in faults)
    return f"{blake2b(told, digest_size=8).hexdigest()}.fault.invalid" if told else ""


def percentage(percent: float) -> FractionalPercent:
    """Returns a share of 0 to 100 percent, in parts of a million; a share above zero never becomes none."""
    numerator = min(1_000_000, max(1 if percent > 0 else 0, round(percent * 10_000)))
    return FractionalPercent(numerator=numerator, denominator=FractionalPercent.DenominatorType.MILLION)
