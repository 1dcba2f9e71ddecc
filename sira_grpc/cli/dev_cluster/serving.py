"""Runs a development cluster until a signal ends it, and tells what runs where and how to talk to it."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sira_grpc.cli.dev_cluster.dev_cluster import NODES, DevCluster, Plan, choose_ports, holding
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Format, Printer, say


def serve_cluster(
    printer: Printer,
    *,
    members: int,
    directory: Path | None,
    port: int,
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> None:
    """Serves until SIGINT or SIGTERM, then drains the members and stops the servers. A second signal kills them.

    Args:
        printer: prints what runs once all of it serves.
        members: how many.
        directory: of the data; None for one that is deleted at the end.
        port: of the first member; 0 for any.
        arguments: of `sira up`, for each member.
        environment: of each member.

    Raises:
        Failure: the directory is taken, a member does not start, or what has ended cannot be started again.
        StoreUnavailable: there is no nats-server, or they do not become a cluster.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        kept = directory is not None
        chosen = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sira-cluster-")))
        plan = Plan(stack.enter_context(holding(chosen)), choose_ports(port, members), arguments, environment)
        with asyncio.Runner() as runner:
            runner.run(_serve(plan, printer, started, kept=kept))
    say("stopped")


async def _serve(plan: Plan, printer: Printer, started: float, *, kept: bool) -> None:
    cluster = DevCluster(plan)
    with _Signals() as signals:
        starting = asyncio.create_task(cluster.start())
        if not await signals.before(starting):
            starting.cancel()  # which stops what has started by now
            await asyncio.gather(starting, return_exceptions=True)
            return
        await starting
        _tell(cluster, printer, time.monotonic() - started, kept=kept)
        failing = asyncio.create_task(cluster.failed.wait())
        failed = await signals.before(failing)
        failing.cancel()
        say("stopping the members, then the servers; once more kills them")
        stopping = asyncio.create_task(cluster.stop())
        if not await signals.before(stopping):
            await cluster.kill()
        await stopping
    if failed:
        raise Failure("something that has ended cannot be started again: see what is said above")


class _Signals:
    """SIGINT and SIGTERM, which are counted instead of ending the process."""

    def __enter__(self) -> _Signals:
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Semaphore(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._came.release)
        return self

    def __exit__(self, *error: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    async def next(self) -> None:
        """Returns at the next one."""
        await self._came.acquire()

    async def before(self, work: asyncio.Task[Any]) -> bool:
        """Returns whether work ended before the next one."""
        coming = asyncio.create_task(self.next())
        try:
            await asyncio.wait((work, coming), return_when=asyncio.FIRST_COMPLETED)
        finally:
            coming.cancel()
        return work.done()


def _tell(cluster: DevCluster, printer: Printer, seconds: float, *, kept: bool) -> None:
    if printer.format is not Format.TABLE:
        printer.next_data(_facts(cluster, seconds))
        return
    data = f"data in {cluster.directory}" + ("" if kept else ", deleted at the end")
    print(f"sira cluster ready in {seconds:.2f} s; {data}")
    for node in cluster.nodes.servers:
        print(f"  {node.name}  {node.url}  pid {node.pid}, log in {node.path / 'output.log'}")
    for member in cluster.members:
        tokens = " ".join(member.ready.get("tokenAddresses", ()))
        door = f", tokens on {tokens}" if tokens else ""
        print(f"  {member.name}  {' '.join(member.ready['addresses'])}{door}  pid {member.pid}")
    print("\n".join(["", "Talk to it, in another shell:", "", *_talking(cluster), ""]))
    print("Kill any of them, and watch: it is started again after a second.")
    sys.stdout.flush()


def _talking(cluster: DevCluster) -> list[str]:
    first = cluster.members[0].ready
    variables = {"SIRA_ADDR": first["addresses"][0]}
    if "operatorDir" in first:
        variables["SIRA_CLIENT_IDENTITY_DIR"] = first["operatorDir"]
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    return [f"  export {settings}", "  sira cluster status"]


def _facts(cluster: DevCluster, seconds: float) -> dict[str, Any]:
    first = cluster.members[0].ready
    shared = ("trustDomain", "rootSha256", "operatorDir")
    return {
        "addresses": [address for member in cluster.members for address in member.ready["addresses"]],
        "members": [
            {
                "name": member.name,
                "pid": member.pid,
                "addresses": member.ready["addresses"],
                "tokenAddresses": member.ready.get("tokenAddresses", []),
            }
            for member in cluster.members
        ],
        "nodes": [{"name": node.name, "pid": node.pid, "url": node.url} for node in cluster.nodes.servers],
        "storeUrl": cluster.nodes.url,
        "replicas": NODES,
        "dir": str(cluster.directory),
        "secondsToStart": round(seconds, 3),
        **{fact: first[fact] for fact in shared if fact in first},
    }
