"""A run of faults: a world, the loads on it, what a seed has done to it, and what came of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.faults.bus_program import BusProgram
from tests.faults.bus_streams import BusStreams
from tests.faults.clients import Clients, connected
from tests.faults.endpoints import Endpoints
from tests.faults.load import Load
from tests.faults.lock_program import LockPrograms
from tests.faults.locks import Locks
from tests.faults.meter import Meter
from tests.faults.nemesis import Nemesis
from tests.faults.registers import Registers
from tests.faults.report import Outcome
from tests.faults.schedule import Step, schedule
from tests.faults.world import World, running
from tests.integration.bus_ledger import Findings

Say = Callable[[str], None]


class Told(Findings):
    """Findings that are told at once, with the time of day: what a member has logged then may say why.

    Args:
        say: told.
    """

    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say = say

    def violation(self, kind: str, text: str) -> None:
        """See Findings."""
        super().violation(kind, text)
        self._say(f"{time.strftime('%H:%M:%S')}  {kind}: {text}")


LOADS = ("registers", "locks", "lock-programs", "endpoints", "streams", "program")


async def run(
    folder: Path,
    seed: int,
    seconds: float,
    say: Say,
    *,
    loads: Sequence[str] = LOADS,
    steps: Sequence[Step] | None = None,
) -> Outcome:
    """Breaks a world for some seconds, heals it, and judges.

    Args:
        folder: for all that is written.
        seed: draws the faults, and what the clients do. How these meet in time is up to the machine.
        seconds: how long.
        say: told what goes on.
        loads: which of LOADS.
        steps: the faults, where it is not the seed that draws them.
    """
    findings = Told(say)
    meter = Meter(findings)
    chosen = schedule(seed, seconds) if steps is None else list(steps)
    say("\n".join(map(str, chosen)))
    async with running(folder, lambda told: findings.violation("a member ended by itself", told)) as world:
        nemesis = Nemesis(world, say)
        async with _loads(world, nemesis, folder, random.Random(seed), meter, loads) as busy:
            for load in busy:
                await load.prepare()
            say("the world is ready")
            await _break(nemesis, chosen, seconds, busy)
            say("healing")
            await world.heal()
            say("healed: finishing what was begun, and judging")
            await asyncio.gather(*(load.finish() for load in busy))
    return Outcome(seed, seconds, dict(nemesis.counts), meter)


@asynccontextmanager
async def _loads(
    world: World, nemesis: Nemesis, folder: Path, rng: random.Random, meter: Meter, names: Sequence[str]
) -> AsyncIterator[list[Load]]:
    """Has loads for the length of the block."""
    async with AsyncExitStack() as stack:

        async def clients() -> Clients:
            return await stack.enter_async_context(connected(world.addresses, rng))

        makers: dict[str, Load] = {
            "registers": Registers(await clients(), _own(rng), meter),
            "locks": Locks(await clients(), _own(rng), meter),
            "lock-programs": LockPrograms(world.addresses, _own(rng), meter),
            "endpoints": Endpoints(world.addresses, folder, await clients(), _own(rng), meter, nemesis.broken),
            "streams": BusStreams(world.addresses, await clients(), _own(rng), meter),
            "program": BusProgram(world.addresses, _own(rng), meter),
        }
        busy = [makers[name] for name in names]
        for load in busy:
            stack.push_async_callback(load.close)
        yield busy


def _own(rng: random.Random) -> random.Random:
    return random.Random(rng.random())


async def _break(nemesis: Nemesis, steps: Sequence[Step], seconds: float, loads: Sequence[Load]) -> None:
    """Does all steps while the loads go on."""
    tasks = [asyncio.create_task(task) for load in loads for task in load.tasks()]
    breaking = asyncio.create_task(_for(nemesis, steps, seconds))
    try:
        waiting: set[asyncio.Task[None]] = {breaking, *tasks}
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a load that has ended has failed
    finally:
        for task in (breaking, *tasks):
            task.cancel()
        await asyncio.wait({breaking, *tasks})


async def _for(nemesis: Nemesis, steps: Sequence[Step], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await nemesis.run(steps)
    await asyncio.sleep(max(0.0, began + seconds - loop.time()))
