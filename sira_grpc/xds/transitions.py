"""Transitions: policies that take effect in two steps, for clients that must know a cluster before calls go to it.

gRPC for Go has its routes lead to a new cluster before its balancer knows of that (grpc-go 1.85: the channel takes the
new config selector first), and fails the calls in between with "unknown cluster selected for RPC". It is sent the
policy as it was first, with a route to the new clusters that no call takes, and the new one then.
"""

from __future__ import annotations

from dataclasses import dataclass

from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.registry.resources import Resources
from sira_grpc.xds.names import Target
from sira_grpc.xds.references import targets

WARM = 0.25
"""Seconds from one step to the next."""
LONGEST = 1.0
"""Seconds for which a policy waits, at most, where others with more new clusters keep coming."""


@dataclass(slots=True)
class _Step:
    """Attributes: the policy that is still in effect, when the first one that waits came, and when it ends."""

    policy: TrafficPolicy
    begun: float
    due: float


class Transitions:
    """The services whose policies are on their way to take effect. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._latest: dict[str, TrafficPolicy] = {}
        self._steps: dict[str, _Step] = {}
        self._cold: dict[tuple[str, Target], float] = {}  # until when clusters are new to the callers of a service

    def load(self, resources: Resources) -> None:
        """Takes in the policies of all services: they are in effect."""
        self._latest = {name: entry.message.traffic_policy for name, entry in resources.services.items()}

    def update(self, service: str, policy: TrafficPolicy | None, added: frozenset[Target], now: float) -> None:
        """Takes in the policy of a service, None if the service is gone.

        Args:
            service: its name.
            policy: the new one.
            added: the targets that it refers to and that the callers of the service did not know before.
            now: the time.
        """
        before = self._latest.pop(service, None)
        step = self._steps.pop(service, None)
        if policy is None:
            return
        self._latest[service] = policy
        if before is None:
            return
        self._warmed(now)
        self._cold.update({(service, target): now + WARM for target in added if target != Target(service)})
        waits = [until for target in targets(service, policy) if (until := self._cold.get((service, target)))]
        if waits:
            begun = step.begun if step is not None else now
            in_effect = step.policy if step is not None else before
            self._steps[service] = _Step(in_effect, begun, min(max(waits), begun + LONGEST))

    def policy(self, service: str) -> TrafficPolicy | None:
        """Returns the policy of a service that is still in effect instead of the latest; None if it is that."""
        step = self._steps.get(service)
        return step.policy if step is not None else None

    @property
    def due(self) -> float | None:
        """When `take` is to be called; None if nothing is on its way."""
        return min((step.due for step in self._steps.values()), default=None)

    def take(self, now: float) -> frozenset[str]:
        """Returns the services whose latest policies take effect now."""
        found = frozenset(service for service, step in self._steps.items() if step.due <= now)
        for service in found:
            del self._steps[service]
        self._warmed(now)
        return found

    def _warmed(self, now: float) -> None:
        for pair, until in list(self._cold.items()):
            if until > now:
                break
            del self._cold[pair]
