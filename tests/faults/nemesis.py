"""Does to a world what a schedule says, and undoes it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from tests.faults.member_process import MemberProcess
from tests.faults.schedule import Fault, Step
from tests.faults.world import World

SLOW_SECONDS = 0.05
Say = Callable[[str], None]


class Nemesis:
    """Faults in a world.

    Args:
        world: in which.
        say: told what is done.
        monotonic: seconds.

    Attributes:
        counts: how often each was done.
    """

    def __init__(self, world: World, say: Say, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[Fault] = Counter()
        self._monotonic = monotonic
        self._times: list[tuple[float, float]] = []
        self._world = world
        self._say = say

    async def run(self, steps: Sequence[Step]) -> None:
        """Does one step after the other, each at its time and for its time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for step in steps:
            await asyncio.sleep(began + step.at - loop.time())
            self._say(f"{time.strftime('%H:%M:%S')}  {step}")
            async with self.doing(step.fault, step.target):
                await asyncio.sleep(step.seconds)

    def broken(self, since: float) -> tuple[int, float]:
        """Returns how many faults there were since a time on the clock, and for how many seconds of it."""
        now = self._monotonic()
        times = [(max(began, since), min(ended, now)) for began, ended in self._times if ended > since]
        return len(times), sum(ended - began for began, ended in times)

    @asynccontextmanager
    async def doing(self, fault: Fault, target: int) -> AsyncIterator[None]:
        """Has a fault for the length of the block. Where it needs a leader and there is none, nothing is done."""
        name = await self._place(fault, target)
        if not name:
            self._say(f"          nobody leads: no {fault.name.lower()}")
            yield
            return
        began = self._monotonic()
        self._times.append((began, math.inf))
        await self._do(fault, name)
        self.counts[fault] += 1
        try:
            yield
        finally:
            await self._undo(fault, name)
            self._times[-1] = began, self._monotonic()

    async def _place(self, fault: Fault, target: int) -> str:
        if fault in (Fault.LEADER_KILLED, Fault.LEADER_FROZEN, Fault.LEADER_ISOLATED):
            return await self._world.store_leader()
        return f"{'n' if fault in (Fault.NODE_KILLED, Fault.NODE_ISOLATED) else 'm'}{target + 1}"

    async def _do(self, fault: Fault, name: str) -> None:
        if fault.breaks_links:
            await self._break(fault, self._links(fault, name))
            return
        world = self._world
        match fault:
            case Fault.MEMBER_KILLED:
                self._member(name).kill()
            case Fault.MEMBER_FROZEN:
                self._member(name).pause()
            case Fault.MEMBER_STOPPED:
                self._member(name).terminate()
            case Fault.MEMBERS_KILLED:
                for member in world.members:
                    member.kill()
            case Fault.LEADER_FROZEN:
                world.node(name).pause()
            case Fault.NODES_KILLED:
                await asyncio.gather(*(server.kill() for server in world.nodes.servers))
            case _:
                await world.node(name).kill()

    async def _undo(self, fault: Fault, name: str) -> None:
        world = self._world
        if fault.breaks_links:
            await world.links.mend(self._links(fault, name))
            return
        match fault:
            case Fault.MEMBER_KILLED | Fault.MEMBER_STOPPED:
                await self._member(name).start()
            case Fault.MEMBER_FROZEN:
                self._member(name).resume()
            case Fault.MEMBERS_KILLED:
                for member in world.members:
                    await member.start()
            case Fault.LEADER_FROZEN:
                world.node(name).resume()
            case Fault.NODES_KILLED:
                for server in world.nodes.servers:
                    await server.start()
            case _:
                await world.node(name).start()

    async def _break(self, fault: Fault, names: list[str]) -> None:
        links = self._world.links
        match fault:
            case Fault.MEMBER_CUT_FROM_STORE:
                await links.cut(names)
            case Fault.MEMBER_SLOW_STORE | Fault.NODES_SLOW:
                await links.delay(names, SLOW_SECONDS)
            case _:
                await links.hold(names)

    def _links(self, fault: Fault, name: str) -> list[str]:
        """The links that a fault breaks."""
        between = self._world.between
        match fault:
            case Fault.MEMBER_LOSES_STORE | Fault.MEMBER_CUT_FROM_STORE | Fault.MEMBER_SLOW_STORE:
                return between("store", name)
            case Fault.MEMBER_LOSES_PEERS:
                return between("peer", name)
            case Fault.MEMBER_LOSES_CLIENTS:
                return between("client", name)
            case Fault.NODES_SLOW:
                return between("route", *(server.name for server in self._world.nodes.servers))
            case _:
                return between("route", name)

    def _member(self, name: str) -> MemberProcess:
        return next(member for member in self._world.members if member.name == name)
