"""Work that one member does for all, and what becomes of it when that member goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sira_grpc.cluster import names
from sira_grpc.errors import Conflict, NotOwner, StoreUnavailable
from sira_grpc.placement import rendezvous
from sira_grpc.store import Put
from tests.unit.cluster.cluster_world import Node, World

DUTY = "sweep"


class Work:
    """Goes on until it is cancelled, and says when it begins and ends."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1
        self.ended.clear()
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.begun.clear()
            self.ended.set()


@asynccontextmanager
async def doing(node: Node, work: Work, duty: str = DUTY) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(node.cluster.duties.run(duty, work))
    await asyncio.sleep(0)  # until it has begun to run
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def tend(world: World, *nodes: Node) -> None:
    for node in nodes:
        await node.cluster.duties.tend()
    await world.settle()


def preferred(*nodes: Node) -> tuple[Node, Node]:
    """The member that placement wants to have the duty, and the other one."""
    owner = rendezvous(f"duty/{DUTY}", [node.id for node in nodes])
    first, second = sorted(nodes, key=lambda node: node.id != owner)
    return first, second


async def test_one_member_takes_it_and_does_it(world: World) -> None:
    first, second = preferred(await world.start("a"), await world.start("b"))
    works = Work(), Work()
    async with doing(first, works[0]), doing(second, works[1]):
        await tend(world, second, first)
        await works[0].begun.wait()
        assert first.cluster.duties.holds(DUTY)
        assert not second.cluster.duties.holds(DUTY)
        assert not works[1].count
        assert first.cluster.duties.guard(DUTY).key == names.duty_key(DUTY)
        with pytest.raises(NotOwner, match="another member's"):
            second.cluster.duties.guard(DUTY)


async def test_it_goes_to_another_when_its_member_dies_and_the_guard_stops_the_first(world: World) -> None:
    first, second = preferred(await world.start("a"), await world.start("b"))
    works = Work(), Work()
    async with doing(first, works[0]), doing(second, works[1]):
        await tend(world, first, second)
        await works[0].begun.wait()
        guard = first.cluster.duties.guard(DUTY)
        await world.store.commit([Put("x", b"1"), guard])
        await world.beats(second, rounds=4)
        await works[1].begun.wait()
        assert second.cluster.duties.holds(DUTY)
        entry = second.cluster.view.duties[DUTY]
        assert (entry.member, entry.term) == (second.id, 2)
        with pytest.raises(Conflict):
            await world.store.commit([Put("x", b"2"), guard])
        await world.store.commit([Put("x", b"3"), second.cluster.duties.guard(DUTY)])
        # The first was only slow: it sees that it has lost the duty, stops the work, and does not take it back.
        await world.beats(first, second)
        await works[0].ended.wait()
        assert not first.cluster.duties.holds(DUTY)
        await tend(world, first, second)
        assert second.cluster.duties.holds(DUTY)


async def test_it_goes_to_another_before_its_member_has_stopped(world: World) -> None:
    first, second = preferred(await world.start("a"), await world.start("b"))
    works = Work(), Work()
    async with doing(first, works[0]), doing(second, works[1]):
        await tend(world, first, second)
        await works[0].begun.wait()
        await first.cluster.leave()
        assert works[0].ended.is_set()
        assert not first.cluster.duties.holds(DUTY)
        assert not first.cluster.duties.held
        await works[1].begun.wait()
        assert second.cluster.duties.holds(DUTY)
        await tend(world, first)
        assert second.cluster.duties.holds(DUTY)


async def test_another_takes_it_if_the_preferred_does_not(world: World) -> None:
    first, second = preferred(await world.start("a"), await world.start("b"))
    work = Work()
    async with doing(second, work):
        await tend(world, second)
        await world.beats(first, second, rounds=7)
        await tend(world, second)
        assert not second.cluster.duties.holds(DUTY)
        await world.beats(first, second, rounds=2)
        await work.begun.wait()


async def test_both_take_it_at_the_same_time_and_one_gets_it(world: World) -> None:
    first, second = preferred(await world.start("a"), await world.start("b"))
    works = Work(), Work()
    async with doing(first, works[0]), doing(second, works[1]):
        for node in (first, second):
            node.cluster.placement.place(frozenset((node.id,)))  # each thinks that it is alone
        await asyncio.gather(first.cluster.duties.tend(), second.cluster.duties.tend())
        await world.settle()
        assert first.cluster.duties.holds(DUTY) is not second.cluster.duties.holds(DUTY)


async def test_one_that_is_isolated_takes_nothing(world: World) -> None:
    a = await world.start("a")
    world.clock.advance(5)
    async with doing(a, Work()):
        await tend(world, a)
        assert not a.cluster.duties.holds(DUTY)
        await world.beats(a)
        await tend(world, a)
        assert a.cluster.duties.holds(DUTY)


async def test_one_that_has_not_announced_itself_takes_nothing_while_there_are_others(world: World) -> None:
    await world.start("a")
    b = await world.start("b", announce=False)
    async with doing(b, Work(), "lonely"):
        await world.beats(*world.nodes, rounds=20)
        await tend(world, b)
        assert not b.cluster.duties.holds("lonely")


async def test_a_lost_store_is_tried_again(world: World) -> None:
    a = await world.start("a")
    work = Work()
    a.link.cut = True
    async with doing(a, work):
        with pytest.raises(StoreUnavailable):
            await a.cluster.duties.tend()
        a.link.cut = False
        await world.beats(a)  # a heartbeat that goes through has it looked again
        await work.begun.wait()


async def test_work_that_ends_is_done(world: World) -> None:
    a = await world.start("a")

    async def once() -> None:
        assert a.cluster.duties.held == 2  # and the one that every cluster has

    task = asyncio.create_task(a.cluster.duties.run(DUTY, once))
    await asyncio.sleep(0)
    await tend(world, a)
    await task
    assert a.cluster.duties.held == 1


async def test_work_that_fails_is_told_to_its_owner(world: World) -> None:
    a = await world.start("a")

    async def fail() -> None:
        raise ArithmeticError("a defect")

    task = asyncio.create_task(a.cluster.duties.run(DUTY, fail))
    await asyncio.sleep(0)
    await tend(world, a)
    with pytest.raises(ArithmeticError, match="a defect"):
        await task


async def test_work_that_fails_because_it_is_lost_is_no_failure(world: World, caplog: pytest.LogCaptureFixture) -> None:
    a = await world.start("a")
    begun, lost = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            lost.set()
            raise Conflict("another one came first")

    task = asyncio.create_task(a.cluster.duties.run(DUTY, work))
    await asyncio.sleep(0)
    await tend(world, a)
    await begun.wait()
    with caplog.at_level(logging.WARNING):
        await a.cluster.duties.leave()
    assert lost.is_set()
    assert "which is lost, has failed" in caplog.text
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_duty_has_one_work(world: World) -> None:
    a = await world.start("a")
    async with doing(a, Work()):
        with pytest.raises(ValueError, match="has its work"):
            await a.cluster.duties.run(DUTY, Work())


async def test_on_a_store_of_its_own_a_member_has_every_duty_from_the_start(world: World) -> None:
    a = await world.start("a", shared=False, announce=False)
    work = Work()
    async with doing(a, work):
        await a.cluster.announce(["a.example:1"])
        assert a.cluster.duties.holds(DUTY)
        await work.begun.wait()
    await world.kill(a)
    b = await world.start("b", shared=False, announce=False)
    async with doing(b, work):
        await b.cluster.announce(["b.example:1"])
        assert b.cluster.duties.holds(DUTY)
        assert b.cluster.view.duties[DUTY].term == 2
