"""Runs a sidecar: registers, starts Envoy and the program, and ends them in the order in which callers miss nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sira_client.first_of import drop

from sira_grpc.cli import client
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Format, Printer, say
from sira_grpc.cli.register import tell
from sira_grpc.cli.sidecar.app_process import AppProcess
from sira_grpc.cli.sidecar.envoy_admin import GONE, EnvoyAdmin
from sira_grpc.cli.sidecar.envoy_config import BootstrapTerms, envoy_bootstrap
from sira_grpc.cli.sidecar.envoy_process import EnvoyProcess
from sira_grpc.cli.sidecar.plan import Plan
from sira_grpc.cli.sidecar.private_folder import private_folder

if TYPE_CHECKING:
    from sira_client import Registration

    from sira_grpc.agent import Agent

LOOK_SECONDS = 0.1
"""How often to look what is in flight while draining."""
SETTLE_SECONDS = 0.5
"""How long Envoy goes on to serve at least once the endpoint is gone: who has not heard of it yet still calls."""
EGRESS_VARIABLE = "SIRA_EGRESS"


def serve(plan: Plan, printer: Printer, *, started: float) -> int:
    """Serves until SIGTERM or SIGINT, or until the program ends; then drains. A second signal cuts that short.

    Args:
        plan: what to do.
        printer: prints the ready line.
        started: when the command began, by time.monotonic().

    Returns:
        The exit code.

    Raises:
        Failure: a part cannot be started, or has ended by itself.
        SiraError: the kernel refuses the registration, or it was lost.
    """
    try:
        return asyncio.run(_Sidecar(plan, printer, started).run())
    except asyncio.CancelledError:
        return ExitCode.INTERRUPTED


class _Sidecar:
    def __init__(self, plan: Plan, printer: Printer, started: float) -> None:
        self._plan = plan
        self._printer = printer
        self._started = started
        self._stop = asyncio.Event()
        self._serving = False

    async def run(self) -> int:
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        assert this is not None, "it runs in a task"
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, this)
        async with AsyncExitStack() as stack:
            return await self._run(stack)

    def _signalled(self, this: asyncio.Task[Any]) -> None:
        if self._serving and not self._stop.is_set():
            self._stop.set()
        else:
            this.cancel()

    async def _run(self, stack: AsyncExitStack) -> int:
        plan = self._plan
        folder = stack.enter_context(private_folder())
        keeper = await stack.enter_async_context(plan.access.open())
        admin = await stack.enter_async_context(EnvoyAdmin(plan.admin or f"unix:{folder / 'admin.sock'}"))
        bootstrap = await self._bootstrap(stack, folder)
        # Before Envoy is ready: it is given a listener for a service that is there, and until the health is reported
        # nobody is sent here.
        registration = await self._register(stack)
        envoy = await stack.enter_async_context(EnvoyProcess(plan.envoy, bootstrap, folder))
        egress = {EGRESS_VARIABLE: f"127.0.0.1:{plan.egress_port}"} if plan.egress_port else {}
        app = await stack.enter_async_context(AppProcess(plan.command, egress, max(plan.drain, 1.0)))
        await envoy.until_ready(admin, plan.listeners, plan.patience)
        self._serving = True
        self._tell(registration, envoy)
        if plan.command:
            await app.start()
        code, failure = await self._until_over(envoy, app, registration, keeper)
        await self._leave(registration, admin, serves=not failure and code is None)
        if failure:
            raise failure
        return code or 0

    async def _bootstrap(self, stack: AsyncExitStack, folder: Path) -> dict[str, Any]:
        """Returns Envoy's configuration, once there is somebody who gives it its secrets."""
        plan, access, socket = self._plan, self._plan.access, ""
        if access.source is not None:
            from sira_grpc.cli.sidecar.secret_server import SecretServer

            socket = str(folder / "sds.sock")
            await stack.enter_async_context(SecretServer(Path(socket), access.source))
        return envoy_bootstrap(
            BootstrapTerms(
                service=plan.service,
                node_id=plan.node_id,
                kernel=access.kernel,
                admin=plan.admin or f"unix:{folder / 'admin.sock'}",
                inbound=plan.inbound,
                egress_port=plan.egress_port,
                upstreams=plan.upstreams,
                region=plan.region,
                zone=plan.zone,
                trust_domain=access.trust_domain,
                sds_socket=socket,
                delta=plan.delta,
            )
        )

    async def _register(self, stack: AsyncExitStack) -> Registration | None:
        if self._plan.endpoint is None:
            return None
        kernel = await stack.enter_async_context(self._plan.access.client())
        registration = client.accepted(kernel.register, **self._plan.endpoint)
        return await stack.enter_async_context(registration)

    async def _until_over(
        self, envoy: EnvoyProcess, app: AppProcess, registration: Registration | None, keeper: Agent | None
    ) -> tuple[int | None, Failure | None]:
        """Returns the exit code of the program if that has ended, and what has failed.

        Raises:
            SiraError: the registration was lost for good.
        """
        stopping, ending, leaving = map(_task, (self._stop.wait(), envoy.ended(), app.ended()))
        others: list[asyncio.Task[Any]] = []
        if registration is not None:
            others.append(_task(tell(registration)))
            if self._plan.health is not None:
                others.append(_task(self._plan.health.run(registration)))
        losing = [_task(keeper.until_failed())] if keeper is not None else []
        tasks = [stopping, ending, leaving, *others, *losing]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return None, Failure(f"Envoy has ended by itself ({ending.result()}): see what it says above")
            if any(task.done() for task in losing):
                why = keeper.failure if keeper is not None else ""
                return None, Failure(why or "the identity cannot be kept any more", ExitCode.REFUSED)
            for task in others:
                if task.done():
                    task.result()
            return (leaving.result() if leaving.done() else None), None
        finally:
            await drop(*tasks)

    async def _leave(self, registration: Registration | None, admin: EnvoyAdmin, *, serves: bool) -> None:
        """Has callers go elsewhere, and waits until they have and nothing is in flight, or the time is over.

        Args:
            registration: to end.
            admin: of Envoy.
            serves: whether calls can still be answered.
        """
        say("draining")
        deadline = time.monotonic() + self._plan.drain
        if registration is not None:
            reporting = _task(_report_in_flight(registration, admin))
            try:
                await registration.close()
            finally:
                await drop(reporting)
            say("deregistered")
        if not serves or not self._plan.inbound or not self._plan.drain:
            return
        with suppress(*GONE):
            await admin.drain_inbound()
            await asyncio.sleep(min(SETTLE_SECONDS, self._plan.drain))
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await _until_idle(admin)

    def _tell(self, registration: Registration | None, envoy: EnvoyProcess) -> None:
        """Prints the ready line."""
        plan, seconds = self._plan, time.monotonic() - self._started
        egress = f"127.0.0.1:{plan.egress_port}" if plan.egress_port else ""
        source = plan.access.source
        identity = source.current.spiffe_id if source is not None else ""
        if self._printer.format is not Format.TABLE:
            facts = {
                "service": plan.service,
                "node": plan.node_id,
                "endpoint": registration.name if registration is not None else "",
                "inbound": [{"port": each.port, "targetPort": each.target_port} for each in plan.inbound],
                "egress": egress,
                "identity": identity,
                "envoyPid": envoy.pid,
                "secondsToStart": round(seconds, 3),
            }
            self._printer.next_data({key: value for key, value in facts.items() if value not in ("", [])})
            return
        parts = [f"sira sidecar ready as {plan.node_id} in {seconds:.2f} s"]
        parts += [f"port {each.port} to 127.0.0.1:{each.target_port}" for each in plan.inbound]
        parts += [f"calls to others at {egress}"] if egress else []
        parts += [f"identity {identity}"] if identity else ["plaintext"]
        print("; ".join(parts), flush=True)


async def _until_idle(admin: EnvoyAdmin) -> None:
    while True:
        if not await admin.in_flight():
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _report_in_flight(registration: Registration, admin: EnvoyAdmin) -> None:
    """Tells the kernel what is in flight, which it waits for when it drains an endpoint."""
    with suppress(*GONE):
        while True:
            registration.report_load(in_flight=await admin.in_flight())
            await asyncio.sleep(LOOK_SECONDS)


def _task(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(work)
