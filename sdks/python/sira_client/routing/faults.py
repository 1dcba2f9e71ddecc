"""Faults that a channel injects into calls: to find out what becomes of the caller.

Source: gRFC A33, https://github.com/grpc/proposal/blob/master/A33-Fault-Injection.md
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import grpc
from sira.registry.v1.fault_injection_pb2 import FaultInjection

from sira_client.durations import seconds

_STATUSES = {status.value[0]: status for status in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is injected into one call.

    Attributes:
        delay: seconds before it begins; 0 for none.
        error: what it fails with after that; None if it goes on.
    """

    delay: float
    error: grpc.aio.AioRpcError | None


def draw(policy: FaultInjection, random: Random) -> Fault | None:
    """Draws the fault of one call: delay and abort, each by its own share. None for nothing."""
    delay = error = None
    if policy.HasField("delay") and random.random() * 100 < policy.delay.percent:
        delay = seconds(policy.delay.delay)
    if policy.HasField("abort") and random.random() * 100 < policy.abort.percent:
        status = _STATUSES.get(policy.abort.code, grpc.StatusCode.UNKNOWN)
        error = grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(), "Fault injected")
    return Fault(delay or 0.0, error) if delay or error else None
