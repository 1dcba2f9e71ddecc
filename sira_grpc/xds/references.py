"""Which parts of which services the traffic policies refer to: the subsets that have clusters of their own.

What a policy does not refer to any more lingers: its clients use it until they have the routes that lead elsewhere,
and are back at once where the policy soon refers to it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import TypeVar

from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.registry.policy_checks import destinations
from sira_grpc.registry.resources import Resources
from sira_grpc.xds.names import Target

K = TypeVar("K", bound=Hashable)

LINGER = 10.0
"""Seconds for which a target stays after a policy has ceased to refer to it."""
MAX_LINGERING = 4096
"""References that linger; beyond that the oldest go first."""

_NONE: frozenset[Target] = frozenset()


class References:
    """The targets of splits and mirrors, by the service that has the policy and by the service that they are of.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._made: dict[str, frozenset[Target]] = {}
        self._left: dict[str, frozenset[Target]] = {}
        self._until: dict[tuple[str, Target], float] = {}  # of those that linger, oldest first
        self._counts: Counter[Target] = Counter()
        self._subsets: dict[str, dict[Target, int]] = {}
        self._referrers: dict[str, Counter[str]] = {}

    def load(self, resources: Resources, generation: int) -> None:
        """Takes in the policies of all services."""
        for name, entry in resources.services.items():
            self.update(name, entry.message.traffic_policy, generation, 0.0)

    def update(self, service: str, policy: TrafficPolicy | None, generation: int, now: float) -> frozenset[Target]:
        """Takes in the policy of a service, None if the service is gone.

        Returns the targets to which the policy refers now, and that were not there for it before.
        """
        before = self._made.get(service, _NONE)
        after = frozenset(targets(service, policy)) if policy is not None else _NONE
        if before == after:
            return _NONE
        added = frozenset(target for target in after - before if self._until.pop((service, target), None) is None)
        for target in added:
            self._add(service, target, generation)
        for target in before - after:
            self._until[service, target] = now + LINGER
        _put(self._made, service, after)
        _put(self._left, service, (self.lingering(service) | before) - after)
        return added

    @property
    def due(self) -> float | None:
        """When `expire` is to be called; None if nothing lingers."""
        if len(self._until) > MAX_LINGERING:
            return 0.0
        return next(iter(self._until.values()), None)

    def expire(self, now: float) -> set[tuple[str, Target]]:
        """Forgets what has lingered for long enough. Returns it: the service that had the policy, and the target."""
        gone: set[tuple[str, Target]] = set()
        for pair, until in self._until.items():
            if until > now and len(self._until) - len(gone) <= MAX_LINGERING:
                break
            gone.add(pair)
        for service, target in gone:
            del self._until[service, target]
            _put(self._left, service, self._left[service] - {target})
            self._remove(service, target)
        return gone

    def _add(self, service: str, target: Target, generation: int) -> None:
        self._counts[target] += 1
        self._referrers.setdefault(target.service, Counter())[service] += 1
        if not target.whole:
            self._subsets.setdefault(target.service, {}).setdefault(target, generation)

    def _remove(self, service: str, target: Target) -> None:
        _less(self._referrers[target.service], service)
        if not self._referrers[target.service]:
            del self._referrers[target.service]
        if _less(self._counts, target) or target.whole:
            return
        del self._subsets[target.service][target]
        if not self._subsets[target.service]:
            del self._subsets[target.service]

    def subsets(self, service: str) -> tuple[Target, ...]:
        """Returns the subsets of a service that policies refer to, or did lately."""
        return tuple(self._subsets.get(service, ()))

    def since(self, target: Target) -> int:
        """Returns the generation at which a subset was first referred to; 0 if it is not there."""
        return self._subsets.get(target.service, {}).get(target, 0)

    def made(self, service: str) -> frozenset[Target]:
        """Returns the targets that the policy of a service refers to, or did lately."""
        return self._made.get(service, _NONE) | self.lingering(service)

    def lingering(self, service: str) -> frozenset[Target]:
        """Returns the targets to which the policy of a service refers no more, but did lately."""
        return self._left.get(service, _NONE)

    def referrers(self, service: str) -> frozenset[str]:
        """Returns the services whose policies refer to a service or a part of it, or did lately."""
        return frozenset(self._referrers.get(service, ()))


def targets(service: str, policy: TrafficPolicy) -> Iterator[Target]:
    """Yields the targets that the policy of a service refers to."""
    for _, destination in destinations(policy):
        yield Target.of(destination, service)


def _put(kept: dict[str, frozenset[Target]], service: str, found: frozenset[Target]) -> None:
    if found:
        kept[service] = found
    else:
        kept.pop(service, None)


def _less(counts: Counter[K], key: K) -> int:
    """Counts one less. Returns how many are left."""
    counts[key] -= 1
    left = counts[key]
    if not left:
        del counts[key]
    return left
