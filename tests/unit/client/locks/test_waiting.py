"""Waiting for a lock: its place in the queue, first answers that never came, and giving up."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from sira_client import LockHeldError, PermissionDeniedError, UnavailableError
from sira_client.locks import Lock

from tests.unit.client.failure import Failure
from tests.unit.client.locks.scripted_kernel import GONE, LOCK, LOST, RELEASED, TTL, Given, acquired, given, queued
from tests.unit.client.locks.virtual_time import now, on_virtual_time

HELD = Failure(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_HELD")
DENIED = Failure(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


def entering(world: Given, wait: float | None = None) -> tuple[Lock, asyncio.Task[Lock]]:
    lock = world.locks.lock("x", ttl=TTL, wait=wait)
    return lock, asyncio.create_task(lock.__aenter__())


@on_virtual_time
async def test_a_claim_whose_first_answer_was_lost_is_found_again_at_another_member() -> None:
    async with given(2) as world:
        _, task = entering(world)
        stream = await world.member.stream()
        first = (await stream.heard()).request.acquire
        await stream.fail(GONE)
        again = await world.members[1].stream()
        second = (await again.heard()).request.acquire
        assert first == second
        assert len(bytes.fromhex(second.key_secret)) == 16
        again.answer(acquired(f"{LOCK}.{second.key_secret}"))
        lock = await task
        serving = asyncio.create_task(again.serve(RELEASED))
        closing = asyncio.create_task(lock.close())
        await serving
        again.answer(RELEASED)
        again.end()
        await closing
        assert not world.member.given_back


@on_virtual_time
async def test_each_acquisition_has_a_secret_of_its_own() -> None:
    async with given() as world:
        tasks = [entering(world)[1] for _ in range(50)]
        streams = [await world.member.stream() for _ in tasks]
        assert len({(await stream.heard()).request.acquire.key_secret for stream in streams}) == 50
        for stream in streams:
            await stream.fail(DENIED)
        assert all(
            isinstance(error, PermissionDeniedError) for error in await asyncio.gather(*tasks, return_exceptions=True)
        )


@pytest.mark.parametrize("failed", [False, True])
@on_virtual_time
async def test_what_was_not_answered_is_given_back_by_its_key(failed: bool) -> None:
    async with given() as world:
        _, task = entering(world)
        stream = await world.member.stream()
        request = (await stream.heard()).request.acquire
        if failed:
            await stream.fail(GONE)
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        (given_back,) = world.member.given_back
        assert given_back.request.lock_key == f"{LOCK}.{request.key_secret}"
        assert now() < 0.1


@on_virtual_time
async def test_what_was_not_answered_is_given_back_once_and_not_for_long() -> None:
    async with given() as world:
        _, task = entering(world)
        await world.member.stream()
        world.member.silent = True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert now() == pytest.approx(TTL / 4, abs=0.1)
        world.member.silent = False
        world.member.failures.append(UnavailableError("gone"))
        _, task = entering(world)
        await world.member.stream()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(world.member.given_back) == 2


@on_virtual_time
async def test_what_was_refused_is_not_given_back() -> None:
    async with given() as world:
        for failure, error in ((HELD, LockHeldError), (DENIED, PermissionDeniedError)):
            _, task = entering(world, 0)
            await (await world.member.stream()).fail(failure)
            with pytest.raises(error):
                await task
        assert not world.member.given_back


@on_virtual_time
async def test_who_is_refused_while_it_waits_hears_of_it() -> None:
    async with given() as world:
        _, task = entering(world)
        stream = await world.member.stream()
        await stream.heard()
        stream.answer(queued())
        await stream.fail(DENIED)
        with pytest.raises(PermissionDeniedError):
            await task
        assert [heard.request.lock_key for heard in world.member.given_back] == ["k"]


@on_virtual_time
async def test_a_place_in_the_queue_is_renewed_and_attached_again() -> None:
    async with given() as world:
        _, task = entering(world)
        stream = await world.member.stream()
        await stream.heard()
        stream.answer(queued())
        for turn in range(1, 20):
            assert (await stream.heard()).at == turn * TTL / 3
            stream.answer(queued())
        await stream.fail(GONE)
        again = await world.member.stream()
        assert (await again.heard()).request.lock_key == "k"
        again.answer(acquired(token=9))
        assert (await task).token == 9


@on_virtual_time
async def test_a_place_that_is_lost_is_asked_for_anew_with_the_same_key() -> None:
    async with given() as world:
        lock, task = entering(world)
        stream = await world.member.stream()
        secret = (await stream.heard()).request.acquire.key_secret
        stream.answer(queued())
        await stream.fail(LOST)
        again = await world.member.stream()
        assert (await again.heard()).request.acquire.key_secret == secret
        again.answer(acquired())
        await task
        assert lock.held
        assert not lock.lost.is_set()


@on_virtual_time
async def test_cancelling_leaves_the_queue_in_good_order() -> None:
    async with given() as world:
        lock, task = entering(world)
        stream = await world.member.stream()
        await stream.heard()
        stream.answer(queued())
        await asyncio.sleep(1)
        task.cancel()
        assert (await stream.heard()).step == "end"
        stream.answer(queued())
        stream.answer(RELEASED)
        stream.end()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (lock.held, lock.closed, world.member.given_back) == (False, True, [])


@on_virtual_time
async def test_patience_is_measured_over_all_streams() -> None:
    async with given(2) as world:
        _, task = entering(world, 5)

        async def serve(number: int) -> None:
            while True:
                stream = await world.members[number].stream()
                await stream.heard()
                stream.answer(queued())
                await asyncio.sleep(1)
                await stream.fail(GONE)

        serving = [asyncio.create_task(serve(number)) for number in range(2)]
        with pytest.raises(LockHeldError):
            await task
        assert 5 <= now() < 5 + TTL / 4 + 0.1
        assert {heard.request.lock_key for heard in world.member.given_back} == {"k"}
        for one in serving:
            one.cancel()


@on_virtual_time
async def test_a_kernel_that_never_answers_was_not_there_in_time() -> None:
    async with given(default_timeout=3) as world:
        lock, task = entering(world, 8)
        with pytest.raises(UnavailableError):
            await task
        assert 8 <= now() < 12
        assert not lock.held
