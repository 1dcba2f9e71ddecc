"""The routes of a traffic policy, made ready: what becomes of a call, and to which target it goes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from sira.registry.v1.fault_injection_pb2 import FaultInjection
from sira.registry.v1.retry_policy_pb2 import RetryPolicy
from sira.registry.v1.route_pb2 import Route, Split
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_client.balancing.route_match import Headers, Matcher, headers_of, matcher
from sira_client.balancing.target import Target
from sira_client.durations import seconds

NO_HEADERS: Headers = {}


class Splits:
    """Targets by weight. A draw takes O(log n).

    Args:
        shares: each target with its weight; at least one is above 0, and those of 0 get nothing.
    """

    def __init__(self, shares: Sequence[tuple[Target, int]]) -> None:
        drawn = [(target, weight) for target, weight in shares if weight]
        self._shares = drawn
        self.targets = tuple(target for target, _ in drawn)
        self._bounds = list(accumulate(weight for _, weight in drawn))

    def draw(self, random: Random) -> Target:
        """The target of one call."""
        if len(self.targets) == 1:
            return self.targets[0]
        return self.targets[bisect_right(self._bounds, random.randrange(self._bounds[-1]))]

    def but(self, targets: Container[Target]) -> Splits | None:
        """Returns the same without some targets, whose calls the others share; None if that leaves nothing."""
        left = [(target, weight) for target, weight in self._shares if target not in targets]
        return Splits(left) if left else None


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of the calls of one route.

    Attributes:
        matchers: a call must match one of them; empty means every call.
        splits: where they go.
        timeout: seconds that a call may take; None for no bound.
        retry: which are tried again; None for none.
        fault: what is injected; None for nothing.
    """

    matchers: tuple[Matcher, ...]
    splits: Splits
    timeout: float | None
    retry: RetryPolicy | None
    fault: FaultInjection | None

    def holds(self, method: str, headers: Headers) -> bool:
        """Whether a call takes this route."""
        return not self.matchers or any(matches(method, headers) for matches in self.matchers)


class RouteTable:
    """The routes of a service's policy; the first that matches a call counts.

    Args:
        policy: the service's.
        service: its resource name.
    """

    def __init__(self, policy: TrafficPolicy, service: str) -> None:
        rules = [_rule(route, policy, service) for route in [*policy.routes, Route()]]
        # What comes after a route that takes every call gets none, and its targets need not be there.
        last = next(number for number, rule in enumerate(rules) if not rule.matchers)
        self._rules = rules[: last + 1]
        self._by_headers = any(match.headers for route in policy.routes for match in route.matches)
        self.targets = frozenset(target for rule in self._rules for target in rule.splits.targets)

    def find(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Rule:
        """The rule of a call."""
        headers = headers_of(metadata) if self._by_headers else NO_HEADERS
        return next(rule for rule in self._rules if rule.holds(method, headers))


def is_plain(policy: TrafficPolicy) -> bool:
    """Whether the policy says nothing of single calls, only how they are spread over the service's endpoints."""
    return not (
        policy.routes
        or policy.HasField("timeout")
        or policy.HasField("retry")
        or policy.HasField("fault")
        or policy.HasField("session_affinity")
    )


def _rule(route: Route, policy: TrafficPolicy, service: str) -> Rule:
    """The rule of a route, with what it leaves to the policy."""
    timeout = route.timeout if route.HasField("timeout") else policy.timeout
    splits: Sequence[Split] = route.splits or [Split(weight=1)]
    return Rule(
        tuple(matcher(match) for match in route.matches),
        Splits([(Target.of(split.destination, service), split.weight) for split in splits]),
        seconds(timeout) or None,
        _retry(route, policy),
        _fault(route, policy),
    )


def _retry(route: Route, policy: TrafficPolicy) -> RetryPolicy | None:
    if route.HasField("retry"):
        return route.retry
    return policy.retry if policy.HasField("retry") else None


def _fault(route: Route, policy: TrafficPolicy) -> FaultInjection | None:
    if route.HasField("fault"):
        return route.fault
    return policy.fault if policy.HasField("fault") else None
