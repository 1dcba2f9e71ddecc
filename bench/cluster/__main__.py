"""`python -m bench.cluster [part ...]`: measures a cluster on this machine and ends with one line of JSON."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench.cluster import frames, latencies, leader_death, member_death, stale_holder, visibility
from bench.figures import Report

Part = Callable[[Report, Path], Awaitable[None]]

PARTS: dict[str, Part] = {
    "frames": frames.run,
    "latencies": latencies.run,
    "visibility": visibility.run,
    "member-death": member_death.run,
    "leader-death": leader_death.run,
    "stale-holder": stale_holder.run,
}


async def main(chosen: list[str]) -> bool:
    """Runs the chosen parts, or all, each with servers and data of its own."""
    report = Report("cluster")
    for name, part in PARTS.items():
        if chosen and name not in chosen:
            continue
        report.say(f"{name}:")
        with tempfile.TemporaryDirectory(prefix="sira-bench-") as folder:
            await part(report, Path(folder))
    return report.finish()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
