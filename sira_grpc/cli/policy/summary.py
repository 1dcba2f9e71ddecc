"""What a policy comes to, in a line for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sira_grpc.cli import cells, durations

if TYPE_CHECKING:
    from sira.registry.v1.access_policy_pb2 import AccessPolicy, AllowRule
    from sira.registry.v1.route_pb2 import Destination, Route
    from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

_PARTS = (
    ("retry", "retries"),
    ("circuit_breakers", "circuit breakers"),
    ("outlier_detection", "outlier detection"),
    ("fault", "faults"),
    ("session_affinity", "session affinity"),
    ("mirror", "a mirror"),
)
"""Parts of a policy of which it is told only that they are there."""


def describe(policy: TrafficPolicy) -> str:
    """A policy in one line: how calls are spread, then what else there is."""
    from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TlsMode

    name = LbPolicy.Name(policy.lb_policy).removeprefix("LB_POLICY_").lower().replace("_", "-")
    parts = ["round-robin" if name == "unspecified" else name]
    if policy.HasField("locality_failover"):
        parts.append(f"failover under {policy.locality_failover.threshold or 0.7:g}")
    if policy.HasField("slow_start"):
        parts.append(f"slow start {durations.brief(policy.slow_start.window.ToTimedelta())}")
    if policy.subset_size:
        parts.append(f"subsets of {policy.subset_size}")
    if policy.HasField("timeout"):
        parts.append(f"at most {durations.exact(policy.timeout.ToTimedelta())}")
    present = {field.name for field, _ in policy.ListFields()}
    parts += [told for field, told in _PARTS if field in present]
    parts += _routes(policy)
    if policy.tls == TlsMode.TLS_MODE_MUTUAL:
        parts.append("mutual TLS")
    return ", ".join(parts)


def describe_access(policy: AccessPolicy) -> str:
    """Who may call, in one line."""
    return "; ".join(f"{', '.join(sources(rule))}: {methods(rule)}" for rule in policy.allow) or "nobody"


def sources(rule: AllowRule) -> list[str]:
    """The callers of a rule as people type them: `shop/frontend`, `shop/*`, `*/*`."""
    return [caller(name) for name in rule.sources]


def caller(source: str) -> str:
    """A source of a rule as people type it."""
    return source.replace("/-", "/*").removeprefix("namespaces/").replace("/services/", "/")


def methods(rule: AllowRule) -> str:
    """What a rule allows."""
    return ", ".join(rule.methods) or "everything"


def shares(route: Route) -> str:
    """Where the calls of a route go: `v1 90%, v2 10%`; empty if it is to the service itself."""
    total = sum(split.weight for split in route.splits)
    told = ((_destination(split.destination), split.weight) for split in route.splits if split.weight)
    return ", ".join(f"{where} {100 * weight / total:.3g}%" for where, weight in told)


def _routes(policy: TrafficPolicy) -> Iterator[str]:
    """The split of all calls, and how many other routes there are."""
    whole = next((route for route in policy.routes if not route.matches), None)
    others = len(policy.routes) - (whole is not None)
    if others:
        yield cells.count(others, "route")
    if whole is not None and whole.splits:
        yield f"split {shares(whole)}"


def _destination(destination: Destination) -> str:
    service = "/".join(destination.service.split("/")[1::2])
    labels = (f"{key}={destination.metadata[key]}" for key in sorted(destination.metadata))
    return "|".join(part for part in (service, destination.version, *labels) if part) or "any"
