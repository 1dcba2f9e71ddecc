"""`python -m bench.xds [part ...]`: measures the xDS control plane on this machine and ends with one line of JSON."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench.figures import Report
from bench.xds import churn, first_calls, memory, pushes

Part = Callable[[Report, Path], Awaitable[None]]

PARTS: dict[str, Part] = {
    "pushes": pushes.run,
    "churn": churn.run,
    "first_calls": first_calls.run,
    "memory": memory.run,
}


async def main(chosen: list[str]) -> bool:
    """Runs the chosen parts, or all, each with servers and data of its own."""
    report = Report("xds")
    for name, part in PARTS.items():
        if chosen and name not in chosen:
            continue
        report.say(f"{name}:")
        with tempfile.TemporaryDirectory(prefix="sira-bench-") as folder:
            await part(report, Path(folder))
    return report.finish()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
