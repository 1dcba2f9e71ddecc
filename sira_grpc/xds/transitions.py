"""Transitions: policies that take effect in two steps, for clients that must know a cluster before calls go to it.

gRPC for Go has its routes lead to a new cluster before its balancer knows of that (grpc-go 1.85: the channel takes the
new config selector first), and fails the calls in between with "unknown cluster selected for RPC". It is sent the
policy as it was first, with a route to the new clusters that no call takes, and the new one then.
"""

from __future__ import annotations

from dataclasses import dataclass

from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.registry.policy_checks import mirroring
from sira_grpc.registry.resources import Resources
from sira_grpc.xds.names import Target
from sira_grpc.xds.references import targets

WARM = 0.25
"""Seconds from one step to the next: from when all clients were told of the first."""
LONGEST = 1.0
"""Seconds for which a policy waits, at most, where others with more new clusters keep coming, or many clients do."""
_NEVER = float("inf")


@dataclass(slots=True)
class _Step:
    """Attributes: the policy that is still in effect, the targets that the latest waits for, and until when at most."""

    policy: TrafficPolicy
    waits: tuple[Target, ...]
    last: float


class Transitions:
    """The services whose policies are on their way to take effect. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._latest: dict[str, TrafficPolicy] = {}
        self._steps: dict[str, _Step] = {}
        self._cold: dict[tuple[str, Target], float] = {}  # until when clusters are new to the callers of a service
        self._untold: dict[tuple[str, Target], int] = {}  # those that not all callers were told of, with the generation
        self._due = _NEVER  # nothing takes effect before

    def load(self, resources: Resources) -> None:
        """Takes in the policies of all services: they are in effect."""
        self._latest = {name: entry.message.traffic_policy for name, entry in resources.services.items()}

    def update(
        self, service: str, policy: TrafficPolicy | None, added: frozenset[Target], generation: int, now: float
    ) -> None:
        """Takes in the policy of a service, None if the service is gone.

        Args:
            service: its name.
            policy: the new one.
            added: the targets that it refers to and that the callers of the service did not know before.
            generation: with which callers are told of those.
            now: the time.
        """
        before = self._latest.pop(service, None)
        step = self._steps.pop(service, None)
        if policy is None:
            return
        self._latest[service] = policy
        if before is None:
            return
        for target in added | (_mirrored(service, before) & _led(service, policy)):
            if target != Target(service):
                self._cold[service, target] = now + LONGEST
                self._untold.pop((service, target), None)  # in the order of their generations
                self._untold[service, target] = generation
        waits = tuple(t for t in targets(service, policy) if self._cold.get((service, t), 0.0) > now)
        if waits:
            last = step.last if step is not None else now + LONGEST
            self._steps[service] = _Step(step.policy if step is not None else before, waits, last)
            self._due = min(self._due, self._end(service))

    def told(self, generation: int, now: float) -> None:
        """Notes that all callers were told of everything up to a generation."""
        for (service, target), since in list(self._untold.items()):
            if since > generation:
                break
            del self._untold[service, target]
            self._cold[service, target] = now + WARM
            if service in self._steps:
                self._due = min(self._due, self._end(service))

    def policy(self, service: str) -> TrafficPolicy | None:
        """Returns the policy of a service that is still in effect instead of the latest; None if it is that."""
        step = self._steps.get(service)
        return step.policy if step is not None else None

    @property
    def due(self) -> float | None:
        """When `take` is to be called; None if nothing is on its way."""
        return self._due if self._steps else None

    def take(self, now: float) -> frozenset[str]:
        """Returns the services whose latest policies take effect now."""
        if now < self._due:
            return frozenset()
        ends = {service: self._end(service) for service in self._steps}
        found = frozenset(service for service, end in ends.items() if end <= now)
        for service in found:
            del self._steps[service]
        self._due = min((end for service, end in ends.items() if service not in found), default=_NEVER)
        self._cold = {pair: until for pair, until in self._cold.items() if until > now}
        self._untold = {pair: since for pair, since in self._untold.items() if pair in self._cold}
        return found

    def _end(self, service: str) -> float:
        step = self._steps[service]
        return min(step.last, max(self._cold.get((service, target), 0.0) for target in step.waits))


def _mirrored(service: str, policy: TrafficPolicy) -> frozenset[Target]:
    """Returns the targets of which callers know nothing, though the policy refers to them: those of mirrors alone."""
    mirrors = (part.mirror.destination for part in mirroring(policy) if part.HasField("mirror"))
    return frozenset(Target.of(destination, service) for destination in mirrors) - _led(service, policy)


def _led(service: str, policy: TrafficPolicy) -> frozenset[Target]:
    return frozenset(Target.of(split.destination, service) for route in policy.routes for split in route.splits)
