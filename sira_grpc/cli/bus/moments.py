"""Points in time as people write them: `2026-01-31T10:00:00Z`, `2026-01-31`, `-10m`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sira_grpc.cli import durations
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

_SPAN = re.compile(r"[-+]?(\d+(\.\d+)?(ms|s|m|h|d))+")


def parse(text: str, option: str, now: datetime | None = None) -> datetime:
    """Reads a time. One without a zone is in UTC; `-10m`, or `10m`, is that long ago, and `+10m` is yet to come.

    Args:
        text: as typed.
        option: what the error names.
        now: what spans count from; None for the clock of this machine.

    Raises:
        Failure: it cannot be read.
    """
    if _SPAN.fullmatch(text):
        span = durations.parse(text.lstrip("-+"), option)
        begin = now or datetime.now(UTC)
        return begin + span if text.startswith("+") else begin - span
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        example = "2026-01-31T10:00:00Z, or -10m"
        raise Failure(f"{option}: {text!r} is no time; for example: {example}", ExitCode.USAGE) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
