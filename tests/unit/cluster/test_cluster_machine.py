"""Members whose links break and heal at random: whatever they believe, a duty's work is done by one at a time."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from sira_grpc.errors import Conflict, NotOwner, StoreUnavailable
from sira_grpc.store import Put
from tests.unit.cluster.cluster_world import INTERVAL, Node, World

DUTIES = ("one", "two", "three")
STEPS = 150


class Chaos:
    """Does something at random, again and again, and notes what was written under a guard."""

    def __init__(self, world: World, nodes: list[Node], rng: random.Random) -> None:
        self.world = world
        self.nodes = nodes
        self.rng = rng
        # By duty, in the order of the commits: whose work it was, and the term under which it was done.
        self.done: dict[str, list[tuple[str, int]]] = {duty: [] for duty in DUTIES}
        self.refused = 0

    async def step(self) -> None:
        node = self.rng.choice(self.nodes)
        actions = (self.beats, self.beats, self.beats, self.tend, self.work, self.work, self.link)
        with suppress(StoreUnavailable):
            await self.rng.choice(actions)(node)

    async def beats(self, node: Node) -> None:
        """Lets time pass, now and then a lot; all others beat, and this one perhaps."""
        self.world.clock.advance(self.rng.choice((*[INTERVAL] * 20, 2.0)))
        for each in self.nodes:
            if each is not node or self.rng.random() < 0.5:
                with suppress(StoreUnavailable):
                    await each.cluster.membership.beat()

    async def tend(self, node: Node) -> None:
        await node.cluster.duties.tend()

    async def link(self, node: Node) -> None:
        node.link.cut = not node.link.cut and self.rng.random() < 0.4

    async def work(self, node: Node) -> None:
        """Begins a guarded work, lets others do something meanwhile, and commits it."""
        duty = self.rng.choice(DUTIES)
        try:
            guard = node.cluster.duties.guard(duty)
        except NotOwner:
            return
        term = node.cluster.view.duties[duty].term
        for other in self.rng.sample(self.nodes, k=self.rng.randrange(len(self.nodes))):
            with suppress(StoreUnavailable):
                await self.rng.choice((self.beats, self.beats, self.tend))(other)
        try:
            await node.link.commit([Put(f"work/{duty}", node.id.encode()), guard])
        except Conflict:
            self.refused += 1
        else:
            self.done[duty].append((node.id, term))


async def prepared(world: World, rng: random.Random) -> tuple[Chaos, list[asyncio.Task[None]]]:
    nodes = [await world.start(member) for member in "abc"]

    async def last() -> None:
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(node.cluster.duties.run(duty, last)) for node in nodes for duty in DUTIES]
    await asyncio.sleep(0)  # until they have begun
    return Chaos(world, nodes, rng), tasks


@pytest.mark.parametrize("seed", range(12))
async def test_one_at_a_time_and_all_is_well_in_the_end(world: World, seed: int) -> None:
    chaos, tasks = await prepared(world, random.Random(seed))
    try:
        for _ in range(STEPS):
            await chaos.step()
        for duty in DUTIES:
            terms = [term for _, term in chaos.done[duty]]
            assert terms == sorted(terms), "who has lost a duty gets nothing done after its successor"
            assert len(set(chaos.done[duty])) == len(set(terms)), "a term is one member's"
        for node in chaos.nodes:
            node.link.cut = False
        await world.beats(*chaos.nodes, rounds=10)
        for node in chaos.nodes:
            await node.cluster.duties.tend()
        await world.settle()
        assert [node.live for node in chaos.nodes] == [{"a", "b", "c"}] * 3
        for duty in DUTIES:
            assert sum(node.cluster.duties.holds(duty) for node in chaos.nodes) == 1
        assert not any(failure.is_set() for node in chaos.nodes for failure in node.cluster.failures)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_chaos_is_one(world: World) -> None:
    """Duties do change hands, and works are refused: else the test above would say nothing."""
    chaos, tasks = await prepared(world, random.Random(1))
    try:
        for _ in range(4 * STEPS):
            await chaos.step()
        assert max(term for done in chaos.done.values() for _, term in done) > 3
        assert chaos.refused
        assert len({member for done in chaos.done.values() for member, _ in done}) == 3
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
