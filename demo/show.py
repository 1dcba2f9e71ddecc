"""The demo from beginning to end: sets everything up, plays the scenes, and takes everything down again."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TextIO

from sira.registry.v1.registry_service_pb2 import CreateServiceRequest
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, TrafficPolicy
from sira_client import IdentityFiles, connect

from demo.fleet import CALLERS, CALLS_PER_SECOND, GREETERS, Fleet
from demo.identity_scenes import join_host
from demo.ledger import Ledger
from demo.observer import SERVICE, Observer
from demo.processes import Processes
from demo.scenes import SCENES
from demo.screen import Screen
from demo.stage import PATIENCE_SECONDS, Demo
from demo.tally import of
from demo.warehouse import Warehouse

ERRORS_TOLD = 5


async def play(out: TextIO, seconds: float) -> bool:
    """Plays the demo and returns whether all went as it should: no call failed, and each scene showed its effect.

    Args:
        out: where the story is told.
        seconds: how long to look at what came of each scene.

    Raises:
        RuntimeError: a process did not start, or ended of itself.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sira-demo-")))
        processes = await stack.enter_async_context(Processes(folder))
        fleet, observer, ledger = Fleet(processes, folder), Observer(), Ledger()
        screen = await stack.enter_async_context(Screen(out, fleet, observer, ledger))
        places = len(set(GREETERS.values()))
        screen.scene(f"A kernel, {len(GREETERS)} greeters in {places} localities, {len(CALLERS)} callers")
        ready = await fleet.start_kernel()
        screen.note(f"the kernel is ready on {fleet.address} after {ready:.2f} s; to look at it from elsewhere:")
        screen.note(f"SIRA_CLIENT_IDENTITY_DIR={fleet.operator} .venv/bin/sira --addr {fleet.address} watch greeter")
        client = await stack.enter_async_context(connect(fleet.address, identity=IdentityFiles(fleet.operator)))
        async with asyncio.TaskGroup() as watching:
            warehouse = Warehouse(processes, fleet, ledger, watching)
            demo = Demo(fleet, observer, warehouse, ledger, client, screen, seconds, watching)
            await _create_service(demo)
            await join_host(demo)
            following = watching.create_task(observer.follow(client))
            await _start_greeters(demo)
            listening = await _start_callers(demo, watching)
            for scene in SCENES:
                await scene(demo)
                screen.standing()
                _nobody_is_missing(demo)
            await _end(demo, listening)
            following.cancel()
        return not screen.failures


async def _create_service(demo: Demo) -> None:
    """Creates the service: calls stay in their zone while enough of it is healthy."""
    policy = TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_ROUND_ROBIN, locality_failover=LocalityFailover(threshold=0.7))
    await demo.client.registry.CreateService(CreateServiceRequest(service=Service(name=SERVICE, traffic_policy=policy)))


async def _start_greeters(demo: Demo) -> None:
    """Starts the processes of the service, and waits until the kernel has found them healthy."""
    for name, place in GREETERS.items():
        await demo.fleet.start_greeter(name, place)
    await _in_time(demo, lambda: all(demo.observer.state(name) == "serving" for name in GREETERS), "greeters")
    demo.screen.note("each greeter has registered, and the kernel has found it healthy")


async def _start_callers(demo: Demo, watching: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
    """Starts the callers, waits for their first calls, and returns the tasks that listen to them until they end."""
    listening = []
    for name, place in CALLERS.items():
        caller = await demo.fleet.start_caller(name, place)
        listening.append(watching.create_task(demo.observer.listen(caller)))
    await _in_time(demo, lambda: all(of(demo.observer.tally.calls, caller=name) for name in CALLERS), "callers")
    who = " and ".join(f"{name} in {place}" for name, place in CALLERS.items())
    demo.screen.note(f"{who} make {CALLS_PER_SECOND} calls a second each")
    return listening


async def _end(demo: Demo, listening: list[asyncio.Task[None]]) -> None:
    """Stops what is left in good order, and says how it all went."""
    demo.screen.scene("The end")
    fleet, tally = demo.fleet, demo.observer.tally
    codes = await asyncio.gather(*(fleet.stop_caller(name) for name in fleet.callers))
    await asyncio.wait(listening)
    codes += await asyncio.gather(*(fleet.stop(name) for name in fleet.running))
    codes += [await fleet.stop_agent(), await fleet.stop_kernel()]
    demo.screen.check(not any(codes), "callers, greeters, the agent and the kernel stopped in good order")
    demo.screen.check(not tally.failed, f"{tally.failed} of {of(tally.calls) + tally.failed} calls failed")
    for error in tally.errors[:ERRORS_TOLD]:
        demo.screen.note(error)
    demo.screen.summary()


async def _in_time(demo: Demo, condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition.

    Raises:
        RuntimeError: it does not come true in time, or a process has ended meanwhile.
    """
    if not await demo.observer.until(condition, within=PATIENCE_SECONDS):
        _nobody_is_missing(demo)
        raise RuntimeError(f"the {what} did not come up within {PATIENCE_SECONDS:g} s")


def _nobody_is_missing(demo: Demo) -> None:
    """Makes sure that nothing has ended but what the demo ended.

    Raises:
        RuntimeError: something has.
    """
    for process in (*demo.fleet.lost(), *demo.warehouse.lost()):
        raise RuntimeError(f"{process.name} has ended of itself: {process.last_words()}")
