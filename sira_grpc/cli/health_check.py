"""The options that say how the kernel finds out whether an endpoint takes calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import durations
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira.registry.v1.health_check_pb2 import HealthCheck

Check = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="`grpc` or `grpc:SERVICE`, `http` or `http:/PATH`, `tcp`. Default: well while it is registered.",
    ),
]
CheckInterval = Annotated[str | None, typer.Option(metavar="DURATION", help="Time between probes. Default: 10s.")]


def parse(check: str | None, interval: str | None) -> HealthCheck | None:
    """Returns the health check that was described; None for none.

    Raises:
        Failure: it is of no kind that is known, or there is an interval of nothing.
    """
    from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HttpCheck, TcpCheck

    if check is None:
        if interval is not None:
            raise Failure("--check-interval: needs --check", ExitCode.USAGE)
        return None
    kind, _, what = check.partition(":")
    if kind == "grpc":
        made = HealthCheck(grpc=GrpcCheck(service=what))
    elif kind == "http":
        made = HealthCheck(http=HttpCheck(path=what))
    elif check == "tcp":
        made = HealthCheck(tcp=TcpCheck())
    else:
        raise Failure(f"--check: {check!r} is none of grpc[:SERVICE], http[:/PATH], tcp", ExitCode.USAGE)
    if interval is not None:
        made.interval.FromTimedelta(durations.parse(interval, "--check-interval"))
    return made
