"""Spans of time as people write them: `500ms`, `30s`, `1m30s`, `2h`."""

from __future__ import annotations

import re
from datetime import timedelta

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse(text: str, option: str) -> timedelta:
    """Reads a span. A number alone is seconds.

    Args:
        text: as typed.
        option: what the error names.

    Raises:
        Failure: it cannot be read.
    """
    spaced = f"{text}s" if re.fullmatch(r"\d+(\.\d+)?", text) else text
    parts = _PART.findall(spaced)
    if not parts or "".join(number + unit for number, unit in parts) != spaced:
        raise Failure(f"{option}: {text!r} is no duration; for example: 500ms, 30s, 1m30s, 2h", ExitCode.USAGE)
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))


def exact(span: timedelta) -> str:
    """A span as parse reads it, to the millisecond: `1m30s`, `500ms`, `0s`."""
    left, parts = round(span.total_seconds() * 1000), []
    for unit in ("d", "h", "m", "s", "ms"):
        number, left = divmod(left, round(_SECONDS[unit] * 1000))
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def brief(span: timedelta) -> str:
    """The largest unit of a span that is not zero, rounded down: `3d`, `5h`, `12m`, `7s`."""
    seconds = max(0, int(span.total_seconds()))
    for unit in ("d", "h", "m"):
        if seconds >= _SECONDS[unit]:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{seconds}s"
