"""A member is killed: how soon its clients are back on another one, and what is lost."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from grpc import aio
from sira.registry.v1.resolver_service_pb2 import WatchRequest
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub
from sira_client import Registration, RegistrationState, connect_insecure

from bench.cluster.stage import DURABILITY, Stage, staged
from bench.cluster.traffic import Traffic, traffic
from bench.figures import Report, median
from bench.load import channels
from bench.registry import messages

MEMBERS = 3
CLIENTS = 60
SERVICE = "held"
RECONNECTING = RegistrationState.RECONNECTING


async def run(report: Report, folder: Path) -> None:
    """Each member in turn, while many clients hold an endpoint each, and one publishes and consumes."""
    back: list[float] = []
    evicted: set[str] = set()
    async with staged(folder, members=MEMBERS) as stage, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect_insecure(stage.addresses)) for _ in range(CLIENTS + 1)]
        going = await stack.enter_async_context(traffic(clients.pop()))
        held = [
            await stack.enter_async_context(
                client.register(SERVICE, port=80, address="127.0.0.1", endpoint_id=f"e{number}", drain_timeout=0)
            )
            for number, client in enumerate(clients)
        ]
        for number in range(MEMBERS):
            back += await _kill(stage, number, held, going, evicted)
    report.add(f"member killed: its clients back on another, p50 of {len(back)}", median(back), "s")
    report.add("member killed: its clients back on another, worst", max(back), "s", at_most=2)
    report.add("member killed: live endpoints evicted", len(evicted), "endpoints", at_most=0)
    report.add("member killed: records lost", going.lost, "records", durability=DURABILITY, at_most=0)
    report.add("member killed: records duplicated", going.duplicated, "records", at_most=0)
    report.add("member killed: exceptions, of writes that were under way", len(going.exceptions), "")
    for error in going.exceptions:
        report.say(f"  {error!r}")


async def _kill(stage: Stage, number: int, held: list[Registration], going: Traffic, evicted: set[str]) -> list[float]:
    """Returns how long each client of a member was without one, seconds."""
    watched = stage.members[(number + 1) % MEMBERS]
    async with channels(watched.address, 1) as (channel,):
        call: Any = ResolverServiceStub(channel).Watch(WatchRequest(service=messages.service(SERVICE)))
        await call.read()
        watching = asyncio.create_task(_note_deleted(call, evicted))
        waiting = [asyncio.create_task(_back(registration)) for registration in held]
        await asyncio.sleep(0)
        begun = time.perf_counter()
        await stage.members[number].kill()
        await going.once_more()
        # Whoever had this member has noticed by now, on a connection that was reset.
        lost = [task for task, one in zip(waiting, held, strict=True) if task.done() or one.state is RECONNECTING]
        back = [await task - begun for task in lost]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await stage.again(number)
        await going.once_more()
        call.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return back


async def _note_deleted(call: Any, evicted: set[str]) -> None:
    while (response := await call.read()) is not aio.EOF:
        evicted.update(response.changes.deleted)


async def _back(registration: Registration) -> float:
    """Returns when a registration is held again, on the performance counter, after it was lost."""
    await registration.wait_for(RECONNECTING)
    await registration.wait_for(RegistrationState.HELD)
    return time.perf_counter()
