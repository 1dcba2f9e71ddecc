from __future__ import annotations

import asyncio

import pytest

from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.nats_sync import Sync


class Leader:
    """Answers each question when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.asking = asyncio.Event()
        self._answers = asyncio.Queue[int | Exception]()

    async def ask(self) -> int:
        self.asked += 1
        self.asking.set()
        answer = await self._answers.get()
        self.asking.clear()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self, answer: int | Exception) -> None:
        self._answers.put_nowait(answer)


@pytest.fixture
def leader() -> Leader:
    return Leader()


@pytest.fixture
def sync(leader: Leader) -> Sync:
    return Sync(leader.ask)


def start(sync: Sync, count: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(sync.sync()) for _ in range(count)]


async def test_who_comes_while_a_question_is_under_way_shares_the_next(leader: Leader, sync: Sync) -> None:
    first = start(sync, 100)
    await leader.asking.wait()
    second = start(sync, 100)
    await asyncio.sleep(0)
    leader.answer(1)
    assert await asyncio.gather(*first) == [1] * 100
    assert not any(task.done() for task in second), "the answer may be older than they are"
    leader.answer(2)
    assert await asyncio.gather(*second) == [2] * 100
    assert leader.asked == 2


async def test_a_failure_is_that_of_its_question_alone(leader: Leader, sync: Sync) -> None:
    first = start(sync, 2)
    await leader.asking.wait()
    second = start(sync, 2)
    await asyncio.sleep(0)
    leader.answer(StoreUnavailable("gone"))
    leader.answer(7)
    outcomes = await asyncio.gather(*first, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
    assert await asyncio.gather(*second) == [7] * 2


async def test_a_caller_that_is_gone_takes_nobody_with_it(leader: Leader, sync: Sync) -> None:
    gone, stays = start(sync, 2)
    await leader.asking.wait()
    gone.cancel()
    leader.answer(3)
    assert await stays == 3
    assert gone.cancelled()
    assert leader.asked == 1
