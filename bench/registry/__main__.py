"""`python -m bench.registry [part ...]`: measures the registry and ends with one line of JSON."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable

import uvloop

from bench.figures import Report
from bench.processes import Server, launch_bare, launch_kernel, serve
from bench.registry import calls, death, fanout, leases, peer_etcd, probing, scale

Part = Callable[[Report, Server, Server], Awaitable[None]]

PAIRED: dict[str, Part] = {
    "resolve": calls.resolve,
    "registrations": calls.registrations,
    "renewals": calls.renewals,
    "held": leases.held,
    "death": death.run,
    "etcd": peer_etcd.run,
    "probing": probing.run,
    "fanout": fanout.run,
}
ALONE: dict[str, Callable[[Report], Awaitable[None]]] = {"empty": scale.empty, "full": scale.full}


async def main(chosen: list[str]) -> bool:
    """Runs the chosen parts, or all."""
    report = Report("registry")
    for name, part in PAIRED.items():
        if chosen and name not in chosen:
            continue
        report.say(f"{name}:")
        with tempfile.TemporaryDirectory(prefix="sira-bench-") as folder:
            async with serve(launch_kernel(folder)) as kernel, serve(launch_bare()) as bare:
                await part(report, kernel, bare)
    for name, alone in ALONE.items():
        if not chosen or name in chosen:
            report.say(f"{name}:")
            await alone(report)
    return report.finish()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
