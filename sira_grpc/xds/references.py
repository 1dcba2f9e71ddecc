"""Which parts of which services the traffic policies refer to: the subsets that have clusters of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.registry.policy_checks import destinations
from sira_grpc.registry.resources import Resources
from sira_grpc.xds.names import Target


class References:
    """The targets of splits and mirrors, by the service that has the policy and by the service that they are of."""

    def __init__(self) -> None:
        self._made: dict[str, frozenset[Target]] = {}
        self._counts: Counter[Target] = Counter()
        self._subsets: dict[str, dict[Target, int]] = {}

    def load(self, resources: Resources, generation: int) -> None:
        """Takes in the policies of all services."""
        for name, entry in resources.services.items():
            self.update(name, entry.message.traffic_policy, generation)

    def update(self, service: str, policy: TrafficPolicy | None, generation: int) -> frozenset[Target]:
        """Takes in the policy of a service, None if the service is gone.

        Returns the targets to which the policy refers now and did not before, or the other way round.
        """
        before = self._made.get(service, frozenset())
        after = frozenset(targets(service, policy)) if policy is not None else frozenset()
        if before == after:
            return frozenset()
        for target in after - before:
            self._add(target, generation)
        for target in before - after:
            self._remove(target)
        if after:
            self._made[service] = after
        else:
            del self._made[service]
        return before ^ after

    def _add(self, target: Target, generation: int) -> None:
        self._counts[target] += 1
        if not target.whole:
            self._subsets.setdefault(target.service, {}).setdefault(target, generation)

    def _remove(self, target: Target) -> None:
        self._counts[target] -= 1
        if self._counts[target]:
            return
        del self._counts[target]
        if not target.whole:
            del self._subsets[target.service][target]
            if not self._subsets[target.service]:
                del self._subsets[target.service]

    def subsets(self, service: str) -> tuple[Target, ...]:
        """Returns the subsets of a service that policies refer to."""
        return tuple(self._subsets.get(service, ()))

    def since(self, target: Target) -> int:
        """Returns the generation at which a subset was first referred to; 0 if it is not."""
        return self._subsets.get(target.service, {}).get(target, 0)

    def made(self, service: str) -> frozenset[Target]:
        """Returns the targets that the policy of a service refers to."""
        return self._made.get(service, frozenset())


def targets(service: str, policy: TrafficPolicy) -> Iterator[Target]:
    """Yields the targets that the policy of a service refers to."""
    for _, destination in destinations(policy):
        yield Target.of(destination, service)
