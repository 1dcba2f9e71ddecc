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
    ORCA_WEIGHTED = "orca-weighted"


class TlsName(StrEnum):
    """What `--tls` takes."""

    MUTUAL = "mutual"
    OFF = "off"


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
CallTimeout = Annotated[
    str | None,
    typer.Option(
        "--call-timeout",
        metavar="DURATION",
        help="How long a call may take, such as 2s; or `off`.",
        rich_help_panel=PANEL,
    ),
]
Tls = Annotated[
    TlsName | None,
    typer.Option("--tls", help="`mutual`: callers and the service show their identities.", rich_help_panel=PANEL),
]


def fill(
    policy: TrafficPolicy,
    *,
    lb_policy: LbPolicyName | None = None,
    failover: str | None = None,
    slow_start: str | None = None,
    subset_size: int | None = None,
    call_timeout: str | None = None,
    tls: TlsName | None = None,
) -> Sequence[str]:
    """Writes what was given into a policy and returns the paths of a service's update mask for it.

    Raises:
        Failure: a share or a duration cannot be read.
    """
    from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TlsMode

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
    if call_timeout is not None:
        if call_timeout != OFF:
            policy.timeout.FromTimedelta(durations.parse(call_timeout, "--call-timeout"))
        paths.append("timeout")
    if tls is not None:
        policy.tls = TlsMode.TLS_MODE_MUTUAL if tls is TlsName.MUTUAL else TlsMode.TLS_MODE_UNSPECIFIED
        paths.append("tls")
    return [f"traffic_policy.{path}" for path in paths]


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Failure(f"--locality-failover: {text!r} must be a share, such as 0.7, or off", ExitCode.USAGE) from error
