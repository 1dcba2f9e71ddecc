"""Changes under a steady load of every kind of client: whether a call fails, and for how long an Envoy warms."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Report
from bench.load import channels
from bench.processes import Server, launch_kernel, serve
from bench.xds import bootstraps, callers, sidecars, warming
from bench.xds.callers import Caller
from bench.xds.changes import SERVICE, Changes
from bench.xds.echo_servers import METHOD, EchoServers
from bench.xds.sidecars import Sidecar
from sira_grpc.cli.bootstrap.client_kind import BootstrapKind

CHANGES = 1_000
EVERY_SECONDS = 0.05
CALLS_PER_SECOND = 40
"""Of each client."""
CALL_SECONDS = 10
KINDS = {
    "python": BootstrapKind.C_CORE,
    "go": BootstrapKind.GO,
    "java": BootstrapKind.JAVA,
    "node": BootstrapKind.NODE,
}
NAME = f"{SERVICE}.default"


@dataclass(frozen=True, slots=True)
class _Load:
    """A client under load: which, and the channel that it calls on."""

    name: str
    caller: Caller
    channel: str

    async def begin(self, **target: str) -> None:
        """Opens the channel, makes calls until one has succeeded, and goes on at a steady rate.

        Raises:
            RuntimeError: none does.
        """
        await self.caller.ask("open", self.channel, **target)
        call: dict[str, Any] = {"method": METHOD, "timeout": CALL_SECONDS}
        tally = await self.caller.ask("call", self.channel, wait=True, **call)
        if set(tally["codes"]) != {"OK"}:
            raise RuntimeError(f"{self.name}: {tally}")
        await self.caller.ask("load", self.channel, rps=CALLS_PER_SECOND, **call)

    async def end(self, report: Report) -> None:
        """Ends the load, and reports what became of its calls."""
        tally = await self.caller.ask("unload", self.channel)
        calls = sum(tally["codes"].values())
        failed = calls - tally["codes"].get("OK", 0)
        name = f"failed calls of {calls:,} in {CHANGES:,} changes, {self.name}"
        report.add(name, failed, "calls", at_most=0)
        if failed:
            report.say(f"    {tally['codes']} {tally['details']}")


async def _languages(report: Report, kernel: Server, folder: Path, stack: AsyncExitStack) -> list[_Load]:
    """Starts the clients of gRPC that take their configuration over xDS."""
    loads = []
    for language, kind in KINDS.items():
        command = await callers.command(language)
        if command is None:
            report.say(f"  {language}: left out, its tools are not installed")
            continue
        environment = bootstraps.write(kind, kernel, folder)
        caller = await stack.enter_async_context(callers.running(language, command, environment))
        load = _Load(language.capitalize(), caller, "xds")
        await load.begin(target=f"xds:///{NAME}", creds="xds")
        loads.append(load)
    return loads


async def _envoys(
    report: Report, kernel: Server, folder: Path, plain: Sequence[str], stack: AsyncExitStack
) -> tuple[list[_Load], dict[str, Sidecar]]:
    """Starts an Envoy for each form of the protocol, with a client behind it that knows nothing of xDS."""
    envoy = sidecars.executable()
    if envoy is None:
        report.say("  Envoy: left out, there is none for this platform")
        return [], {}
    caller = await stack.enter_async_context(callers.running("behind Envoy", plain, {}))
    loads, found = [], {}
    for form in ("SotW", "delta"):
        sidecar = await stack.enter_async_context(sidecars.running(kernel, envoy, folder, delta=form == "delta"))
        load = _Load(f"Envoy {form}", caller, form)
        await load.begin(target=f"dns:///127.0.0.1:{sidecar.egress}", authority=NAME)
        await warming.begin(sidecar)
        loads.append(load)
        found[load.name] = sidecar
    return loads, found


async def _tell(report: Report, name: str, sidecar: Sidecar) -> None:
    """Reports how long the clusters of an Envoy warmed."""
    warmed = await warming.end(sidecar)
    longest = max(warmed.times, default=0.0) * 1e3
    report.add(f"longest of {len(warmed.times)} times that a cluster warmed, {name}", longest, "ms", at_most=100)
    report.add(f"clusters left warming, {name}", len(warmed.unfinished), "clusters", at_most=0)
    report.add(f"updates rejected, {name}", warmed.rejected, "updates", at_most=0)


async def _make(changes: Changes) -> float:
    """Makes the changes, one every so often. Returns how many seconds they took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(CHANGES):
        await asyncio.sleep(begun + number * EVERY_SECONDS - loop.time())
        await changes.make()
    took = loop.time() - begun
    await changes.settle()
    return took


async def run(report: Report, folder: Path) -> None:
    """Makes 1,000 changes while clients of every kind call."""
    plain = await callers.command("python")
    assert plain is not None  # it is this very Python
    async with (
        serve(launch_kernel(str(folder / "data"))) as kernel,
        channels(kernel.address, 1) as (channel,),
        EchoServers() as servers,
    ):
        changes = Changes(channel, servers)
        await changes.begin()
        async with AsyncExitStack() as stack:
            loads = await _languages(report, kernel, folder, stack)
            behind, envoys = await _envoys(report, kernel, folder, plain, stack)
            took = await _make(changes)
            report.say(f"  {CHANGES:,} changes in {took:.1f} s")
            for load in (*loads, *behind):
                await load.end(report)
            for name, sidecar in envoys.items():
                await _tell(report, name, sidecar)
