from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.registry import write_behind
from sira_grpc.registry.write_behind import WriteBehind
from sira_grpc.store import MAX_OPS, Op, Put


class Target:
    """Things with a state, and what was written of it. Fails as it is told to."""

    def __init__(self) -> None:
        self.wanted: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.commits: list[int] = []
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.pending = WriteBehind(self.commit, self.build)

    def want(self, thing: str, state: int) -> None:
        self.wanted[thing] = state
        self.pending.mark(thing)

    def build(self, thing: str) -> Op | None:
        if self.wanted.get(thing) == self.written.get(thing):
            return None
        return Put(thing, str(self.wanted[thing]).encode())

    async def commit(self, ops: Sequence[Op]) -> int:
        self.begun.set()
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        for op in ops:
            assert isinstance(op, Put)
            self.written[op.key] = int(op.value)
        self.commits.append(len(ops))
        return len(self.commits)


@pytest.fixture
def target() -> Target:
    return Target()


async def test_what_is_marked_is_written_once_as_it_then_is(target: Target) -> None:
    target.want("a", 1)
    target.want("a", 2)
    target.want("b", 1)
    assert await target.pending.flush()
    assert target.written == {"a": 2, "b": 1}
    assert target.commits == [2]


async def test_nothing_is_written_when_nothing_is_to_be(target: Target) -> None:
    target.want("a", 1)
    await target.pending.flush()
    target.pending.mark("a")
    assert await target.pending.flush()
    assert target.commits == [1]


async def test_many_things_go_in_commits_that_the_store_takes(target: Target) -> None:
    for i in range(MAX_OPS + 1):
        target.want(f"t{i}", 1)
    assert await target.pending.flush()
    assert target.commits == [MAX_OPS, 1]


async def test_what_changes_while_it_is_written_is_written_again(target: Target) -> None:
    target.gate.clear()
    target.want("a", 1)
    writing = asyncio.create_task(target.pending.flush())
    await target.begun.wait()
    target.want("a", 2)
    target.gate.set()
    assert await writing
    assert target.written == {"a": 2}
    assert target.commits == [1, 1]


async def test_a_conflict_of_one_does_not_hold_up_the_others(target: Target) -> None:
    target.failures = [Conflict("all"), Conflict("a")]
    target.want("a", 1)
    target.want("b", 1)
    assert await target.pending.flush()
    assert target.written == {"a": 1, "b": 1}
    assert target.commits == [1, 1]


async def test_what_is_settled_when_a_conflict_is_looked_at_is_left_alone(target: Target) -> None:
    target.failures = [Conflict("all")]
    target.want("a", 1)
    target.gate.clear()
    writing = asyncio.create_task(target.pending.flush())
    await target.begun.wait()
    target.written["a"] = 1
    target.gate.set()
    assert await writing
    assert target.commits == []


async def test_a_store_that_cannot_write_is_tried_again(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "RETRY_SECONDS", 0.0)
    target.failures = [StoreUnavailable("full"), Conflict("all"), StoreUnavailable("full"), StoreUnavailable("full")]
    written = asyncio.Event()
    commit = target.commit

    async def noted(ops: Sequence[Op]) -> int:
        revision = await commit(ops)
        written.set()
        return revision

    target.pending = WriteBehind(noted, target.build)
    task = asyncio.create_task(target.pending.run())
    target.want("a", 1)
    await written.wait()
    assert target.written == {"a": 1}
    target.want("a", 2)
    written.clear()
    await written.wait()
    assert target.written == {"a": 2}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_a_store_could_not_write_stays_marked(target: Target) -> None:
    target.failures = [StoreUnavailable("full")]
    target.want("a", 1)
    assert not await target.pending.flush()
    assert await target.pending.flush()
    assert target.written == {"a": 1}


async def test_what_was_being_written_when_its_task_was_cancelled_stays_marked(target: Target) -> None:
    target.gate.clear()
    target.want("a", 1)
    task = asyncio.create_task(target.pending.run())
    await target.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    target.gate.set()
    assert await target.pending.flush()
    assert target.written == {"a": 1}


async def test_what_others_write_again_and_again_is_tried_later(target: Target) -> None:
    target.failures = [Conflict("a")] * 40
    target.want("a", 1)
    assert not await target.pending.flush()
    assert len(target.failures) == 40 - 2 * 8
    target.failures.clear()
    assert await target.pending.flush()
    assert target.written == {"a": 1}
