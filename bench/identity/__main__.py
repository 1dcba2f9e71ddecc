"""`python -m bench.identity [part ...]`: measures identity and ends with one line of JSON."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench.figures import Report
from bench.identity import floor, handshakes, issuing, kernel, renewing, rotation

Part = Callable[[Report, kernel.IdentityKernel, floor.Floor, Path], Awaitable[None]]

PARTS: dict[str, Part] = {
    "issuing": issuing.run,
    "handshakes": handshakes.run,
    "renewing": renewing.run,
    "rotation": rotation.run,
}
SETTINGS = {"SIRA_IDENTITY_ROTATION_MIN_STAGE": "2"}


async def main(chosen: list[str]) -> bool:
    """Runs the chosen parts, or all, each with a kernel and a floor of its own."""
    report = Report("identity")
    for name, part in PARTS.items():
        if chosen and name not in chosen:
            continue
        report.say(f"{name}:")
        with tempfile.TemporaryDirectory(prefix="sira-bench-") as made:
            folder = Path(made)
            running = await kernel.launch(folder, SETTINGS)
            try:
                beside = await floor.launch(folder / "floor", running.operator())
                try:
                    await part(report, running, beside, folder)
                finally:
                    await beside.server.stop()
            finally:
                await running.server.stop()
    return report.finish()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
