"""Ramps: when the weights of endpoints in slow start move, for clients that know no slow start of their own."""

from __future__ import annotations

from dataclasses import dataclass

from sira.registry.v1.traffic_policy_pb2 import LbPolicy, SlowStart, TrafficPolicy
from sira_client.balancing import ramp_end_ns

from sira_grpc.registry.resources import Resources
from sira_grpc.times import NANOS

STEPS = 10
"""Steps in which a weight ramps up."""
MIN_STEP_NS = NANOS // 10


def ramps(policy: TrafficPolicy) -> bool:
    """Whether endpoints ramp up under a policy. Under ring hash they never do: it would move keys all along."""
    return policy.HasField("slow_start") and policy.lb_policy != LbPolicy.LB_POLICY_RING_HASH


def step_ns(slow_start: SlowStart) -> int:
    """Returns the nanoseconds from one step to the next. Steps are at multiples of it, at every member alike."""
    return max(slow_start.window.ToNanoseconds() // STEPS, MIN_STEP_NS)


@dataclass(slots=True)
class _Ramp:
    step: int
    due: int
    until: int


class Ramps:
    """The services some endpoints of which may be ramping up. Times are Unix nanoseconds."""

    def __init__(self) -> None:
        self._ramps: dict[str, _Ramp] = {}

    def changed(self, service: str, policy: TrafficPolicy | None, now: int) -> bool:
        """Notes that something of a service has changed, which may have begun a ramp.

        Returns whether `due` is earlier than it was.
        """
        if policy is None or not ramps(policy):
            self._ramps.pop(service, None)
            return False
        before = self.due
        step = step_ns(policy.slow_start)
        window = policy.slow_start.window.ToNanoseconds()
        self._ramps[service] = _Ramp(step, _next(now, step), now + window + step)
        return before is None or self._ramps[service].due < before

    @property
    def due(self) -> int | None:
        """When weights move next; None if they do not."""
        return min((ramp.due for ramp in self._ramps.values()), default=None)

    def take(self, now: int, resources: Resources) -> frozenset[str]:
        """Returns the services whose weights have moved, and forgets those that ramp no longer."""
        moved = frozenset(name for name, ramp in self._ramps.items() if ramp.due <= now)
        for name in moved:
            ramp = self._ramps[name]
            ramp.due = _next(now, ramp.step)
            if now >= ramp.until:
                self._finish(name, ramp, now, resources)
        return moved

    def _finish(self, name: str, ramp: _Ramp, now: int, resources: Resources) -> None:
        """Forgets a service, unless clocks that differ have some endpoint ramp for longer than the window."""
        service = resources.services.get(name)
        if service is not None:
            endpoints = (entry.message for entry in service.endpoints.values())
            ramp.until = ramp_end_ns(endpoints, service.message.traffic_policy) + ramp.step
        if service is None or now >= ramp.until:
            del self._ramps[name]


def _next(now: int, step: int) -> int:
    return (now // step + 1) * step
