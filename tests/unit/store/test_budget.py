from __future__ import annotations

import asyncio

import pytest

from sira_grpc.errors import KernelStopping
from sira_grpc.store.budget import ByteBudget


async def start(budget: ByteBudget, *sizes: int) -> list[asyncio.Task[None]]:
    """Starts a taker for each size, in order, and lets each get as far as it can."""
    tasks = [asyncio.create_task(budget.take(size)) for size in sizes]
    await settle()
    return tasks


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_takers_beyond_the_limit_wait_their_turn() -> None:
    budget = ByteBudget(10)
    tasks = await start(budget, 6, 4, 1, 9)
    assert [task.done() for task in tasks] == [True, True, False, False]
    budget.give(4)
    await settle()
    assert [task.done() for task in tasks] == [True, True, True, False]
    budget.give(6)
    await settle()
    assert tasks[3].done()


async def test_a_small_taker_does_not_overtake_a_large_one() -> None:
    budget = ByteBudget(10)
    _, large, small = await start(budget, 5, 8, 1)
    assert not small.done()
    budget.give(5)
    await settle()
    assert large.done()
    assert small.done()


async def test_what_is_larger_than_the_limit_goes_alone() -> None:
    budget = ByteBudget(10)
    tasks = await start(budget, 100, 1)
    assert [task.done() for task in tasks] == [True, False]
    budget.give(100)
    await settle()
    assert tasks[1].done()


async def test_a_taker_that_gives_up_makes_way() -> None:
    budget = ByteBudget(10)
    _, leaving, waiting = await start(budget, 10, 10, 4)
    leaving.cancel()
    await settle()
    budget.give(10)
    await settle()
    assert waiting.done()
    assert leaving.cancelled()


async def test_a_taker_that_gives_up_at_its_turn_gives_it_on() -> None:
    budget = ByteBudget(10)
    _, leaving, waiting = await start(budget, 10, 10, 4)
    budget.give(10)
    leaving.cancel()
    await settle()
    assert leaving.cancelled()
    assert waiting.done()


async def test_failing_reaches_everyone_who_waits_and_nobody_else() -> None:
    budget = ByteBudget(10)
    inside, leaving, first, second = await start(budget, 10, 1, 1, 1)
    leaving.cancel()
    budget.fail(lambda: KernelStopping("stopping"))
    await settle()
    assert inside.exception() is None
    assert leaving.cancelled()
    for task in (first, second):
        with pytest.raises(KernelStopping):
            await task


async def test_a_taker_that_gives_up_as_it_fails_takes_nothing() -> None:
    budget = ByteBudget(10)
    _, leaving = await start(budget, 10, 1)
    budget.fail(lambda: KernelStopping("stopping"))
    leaving.cancel()
    await settle()
    budget.give(10)
    (task,) = await start(budget, 10)
    assert task.done()
