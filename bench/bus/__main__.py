"""`python -m bench.bus [part ...]`: measures the bus and ends with one line of JSON."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench.bus import delayed, end_to_end, pacing, peers, publishing, stalled
from bench.figures import Report

Part = Callable[[Report, Path], Awaitable[None]]

PARTS: dict[str, Part] = {
    "publishing": publishing.run,
    "end-to-end": end_to_end.run,
    "pacing": pacing.run,
    "stalled": stalled.run,
    "delayed": delayed.run,
    "peers": peers.run,
}


async def main(chosen: list[str]) -> bool:
    """Runs the chosen parts, or all, each with servers and data of its own."""
    report = Report("bus")
    for name, part in PARTS.items():
        if chosen and name not in chosen:
            continue
        report.say(f"{name}:")
        with tempfile.TemporaryDirectory(prefix="sira-bench-") as folder:
            await part(report, Path(folder))
    return report.finish()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
