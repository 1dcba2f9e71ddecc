from __future__ import annotations

import asyncio

import pytest

from sira_grpc.commits import ATTEMPTS, in_chunks
from sira_grpc.errors import Conflict
from sira_grpc.store import ABSENT, Op, Put
from tests.unit.registry.world import DEFAULT, World

KEY = "registry/namespaces/n"


async def test_the_view_shows_what_was_committed(world: World) -> None:
    revision = await world.registry.commits.apply(lambda: [Put(KEY, b"", ABSENT)])
    assert world.registry.view.revision == revision
    assert "namespaces/n" in world.registry.view.namespaces


async def test_a_plan_without_operations_changes_nothing(world: World) -> None:
    before = world.store.revision
    assert await world.registry.commits.apply(list) == before
    assert world.store.revision == before


async def test_a_plan_is_asked_again_once_the_view_shows_what_came_in_between(world: World) -> None:
    seen: list[int] = []

    def plan() -> list[Op]:
        entry = world.registry.view.namespaces.get("namespaces/n")
        seen.append(entry.revision if entry else 0)
        return [Put(KEY, b"", seen[-1])]

    await asyncio.gather(*(world.registry.commits.apply(plan) for _ in range(3)))
    assert world.registry.view.namespaces["namespaces/n"].revision == max(seen) + 1 == world.store.revision
    assert seen[:3] == [0, 0, 0]


async def test_a_plan_that_never_fits_gives_up(world: World) -> None:
    asked = 0

    def plan() -> list[Op]:
        nonlocal asked
        asked += 1
        return [Put("registry/namespaces/default", b"", ABSENT)]

    with pytest.raises(Conflict) as error:
        await world.registry.commits.apply(plan)
    assert asked == ATTEMPTS
    assert error.value.retry_after is not None
    assert DEFAULT in world.registry.view.namespaces


async def test_a_command_goes_on_when_its_caller_goes_away(world: World) -> None:
    begun, gate, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def command() -> None:
        begun.set()
        await gate.wait()
        done.set()

    caller = asyncio.create_task(world.registry.commits.run(command()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    closing = asyncio.create_task(world.registry.commits.close())
    gate.set()
    await closing
    assert done.is_set()


async def test_the_failure_of_a_command_whose_caller_went_away_is_no_error(world: World) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def command() -> None:
        begun.set()
        await gate.wait()
        raise Conflict("nobody hears it")

    caller = asyncio.create_task(world.registry.commits.run(command()))
    await begun.wait()
    caller.cancel()
    gate.set()
    await world.registry.commits.close()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_close_waits_for_commands_that_begin_meanwhile(world: World) -> None:
    commits = world.registry.commits
    steps: list[str] = []

    async def second() -> None:
        steps.append("second")

    async def first() -> None:
        steps.append("first")
        await commits.run(second())

    await asyncio.gather(commits.run(first()), commits.close())
    assert steps == ["first", "second"]


@pytest.mark.parametrize(("sizes", "chunks"), [([], []), ([3], [3]), ([2, 2, 2], [4, 2]), ([4, 1, 3], [4, 4])])
async def test_groups_go_in_chunks_and_stay_whole(sizes: list[int], chunks: list[int]) -> None:
    written: list[int] = []

    async def write(ops: object) -> int:
        assert isinstance(ops, list)
        written.append(len(ops))
        return len(written)

    groups: list[list[Op]] = [[Put(f"g{i}/{j}", b"") for j in range(size)] for i, size in enumerate(sizes)]
    assert await in_chunks(write, groups, 4) == len(chunks)
    assert written == chunks
