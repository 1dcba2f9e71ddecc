"""The options that describe a traffic policy."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import durations
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

PANEL = "Traffic policy"
OFF = "off"


class LbPolicyName(StrEnum):
    """What `--lb-policy` takes."""

    ROUND_ROBIN = "round-robin"
    WEIGHTED = "weighted"
    LEAST_REQUEST = "least-request"
    RING_HASH = "ring-hash"
    RANDOM = "random"


LbPolicyOption = Annotated[
    LbPolicyName | None, typer.Option("--lb-policy", help="How calls are spread.", rich_help_panel=PANEL)
]
Failover = Annotated[
    str | None,
    typer.Option(
        "--locality-failover",
        metavar="SHARE",
        help="Keep to near endpoints while at least this share of them is healthy, such as 0.7; or `off`.",
        rich_help_panel=PANEL,
    ),
]
SlowStartWindow = Annotated[
    str | None,
    typer.Option(
        "--slow-start",
        metavar="DURATION",
        help="Ramp for endpoints that become healthy, such as 30s; or `off`.",
        rich_help_panel=PANEL,
    ),
]
SubsetSize = Annotated[
    int | None, typer.Option("--subset-size", help="Endpoints that one client uses; 0: all.", rich_help_panel=PANEL)
]


def fill(
    policy: TrafficPolicy,
    lb_policy: LbPolicyName | None,
    failover: str | None,
    slow_start: str | None,
    subset_size: int | None,
) -> Sequence[str]:
    """Writes what was given into a policy and returns the paths of a service's update mask for it.

    Raises:
        Failure: a share or a duration cannot be read.
    """
    from sira.registry.v1.traffic_policy_pb2 import LbPolicy

    paths = []
    if lb_policy is not None:
        policy.lb_policy = LbPolicy.Value(f"LB_POLICY_{lb_policy.name}")
        paths.append("lb_policy")
    if failover is not None:
        # What is off is absent, and in the mask all the same: so it is cleared.
        if failover != OFF:
            policy.locality_failover.threshold = _share(failover)
        paths.append("locality_failover")
    if slow_start is not None:
        if slow_start != OFF:
            policy.slow_start.window.FromTimedelta(durations.parse(slow_start, "--slow-start"))
        paths.append("slow_start")
    if subset_size is not None:
        policy.subset_size = subset_size
        paths.append("subset_size")
    return [f"traffic_policy.{path}" for path in paths]


def describe(policy: TrafficPolicy) -> str:
    """A policy in one line: how calls are spread, then what else there is."""
    from sira.registry.v1.traffic_policy_pb2 import LbPolicy

    name = LbPolicy.Name(policy.lb_policy).removeprefix("LB_POLICY_").lower().replace("_", "-")
    parts = ["round-robin" if name == "unspecified" else name]
    if policy.HasField("locality_failover"):
        parts.append(f"failover under {policy.locality_failover.threshold or 0.7:g}")
    if policy.HasField("slow_start"):
        parts.append(f"slow start {durations.brief(policy.slow_start.window.ToTimedelta())}")
    if policy.subset_size:
        parts.append(f"subsets of {policy.subset_size}")
    return ", ".join(parts)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Failure(f"--locality-failover: {text!r} must be a share, such as 0.7, or off", ExitCode.USAGE) from error
