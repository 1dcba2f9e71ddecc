"""How long a lock is held: renewals, and the deadline that nothing which comes late moves."""

from __future__ import annotations

import asyncio

import pytest
from sira_client import LockLostError
from sira_client.locks import Lock

from tests.unit.client.locks.scripted_kernel import (
    ALIVE,
    GONE,
    LOST,
    RELEASED,
    TTL,
    Given,
    Stream,
    acquired,
    given,
    queued,
)
from tests.unit.client.locks.virtual_time import now, on_virtual_time, stop_process, until

THIRD, QUARTER = TTL / 3, TTL / 4


async def held(world: Given) -> tuple[Lock, Stream]:
    """A lock that was acquired at 0 s, and its stream."""
    lock = world.locks.lock("x", ttl=TTL)
    entering = asyncio.create_task(lock.__aenter__())
    stream = await world.member.stream()
    await stream.heard()
    stream.answer(acquired())
    await entering
    return lock, stream


async def closed(lock: Lock, stream: Stream) -> None:
    """Releases in good order."""
    closing = asyncio.create_task(lock.close())
    while (await stream.heard()).request is not None:
        stream.answer(ALIVE)
    stream.answer(RELEASED)
    stream.end()
    await closing


@on_virtual_time
async def test_a_renewal_goes_out_a_third_of_the_ttl_after_the_one_before_and_never_before_its_answer() -> None:
    async with given() as world:
        lock, stream = await held(world)
        first = await stream.heard()
        assert (first.at, first.step) == (THIRD, "renew")
        await until(THIRD + 2)
        stream.answer(ALIVE)
        second = await stream.heard()
        assert (second.at, second.step) == (2 * THIRD, "renew")
        stream.answer(ALIVE)
        for turn in range(3, 30):
            assert (await stream.heard()).at == turn * THIRD
            stream.answer(ALIVE)
        assert lock.held
        await closed(lock, stream)
        assert (lock.held, lock.lost.is_set(), world.member.given_back) == (False, False, [])


@on_virtual_time
async def test_it_is_lost_one_ttl_after_the_last_answered_request_was_sent() -> None:
    async with given() as world:
        lock, stream = await held(world)
        await stream.heard()
        await until(THIRD + 2)
        stream.answer(ALIVE)  # to what was sent at THIRD
        ended = THIRD + TTL
        before, after = (asyncio.create_task(until(ended + shift)) for shift in (-0.001, 0.001))
        await before
        assert (lock.held, lock.lost.is_set()) == (True, False)
        await lock.lost.wait()
        assert now() == pytest.approx(ended, abs=1e-6)
        assert (lock.held, lock.token) == (False, 7)
        assert isinstance(lock.error, LockLostError)
        await after
        await lock.close()
        assert lock.lost.is_set()


@on_virtual_time
async def test_an_answer_after_the_deadline_is_too_late() -> None:
    async with given() as world:
        lock, stream = await held(world)
        await stream.heard()
        stop_process(TTL)  # nothing of it was looked at meanwhile
        stream.answer(ALIVE)
        assert not lock.held
        assert lock.lost.is_set()
        await asyncio.sleep(1)
        assert not lock.held
        await lock.close()


@on_virtual_time
async def test_a_process_that_was_stopped_reads_what_came_meanwhile_and_does_not_believe_it() -> None:
    async with given() as world:
        lock, stream = await held(world)
        await stream.heard()
        stream.answer(ALIVE)
        stop_process(TTL - 1)  # past the deadline, not past the one that the answer would have given
        await lock.lost.wait()
        assert now() == THIRD + TTL - 1
        assert not lock.held
        await lock.close()


@on_virtual_time
async def test_a_member_that_does_not_answer_is_left_within_a_quarter_of_the_ttl() -> None:
    async with given(2) as world:
        lock, stream = await held(world)
        await stream.heard()
        other = await world.members[1].stream()
        assert now() == pytest.approx(THIRD + QUARTER, abs=0.1)
        assert stream.cancelled.is_set()
        first = await other.heard()
        assert first.request.lock_key == "k"
        await asyncio.sleep(2)
        other.answer(acquired())
        renewal = await other.heard()
        assert renewal.at == pytest.approx(first.at + THIRD)
        assert lock.error is None
        await lock.lost.wait()
        # It counts from the request that attached, not from its answer.
        assert now() == pytest.approx(first.at + TTL, abs=1e-6)
        await lock.close()


@on_virtual_time
async def test_a_lost_stream_is_opened_again_at_the_other_member() -> None:
    async with given(2) as world:
        lock, stream = await held(world)
        await until(1)
        await stream.fail(GONE)
        other = await world.members[1].stream()
        assert (await other.heard()).request.lock_key == "k"
        assert lock.held
        assert lock.error is not None
        other.answer(acquired())
        await other.heard()
        assert lock.error is None
        other.answer(ALIVE)
        await other.fail(GONE)
        back = await world.member.stream()  # and back
        assert (await back.heard()).request.lock_key == "k"
        back.answer(acquired())
        serving = asyncio.create_task(back.serve())
        await until(10 * TTL)
        assert (lock.held, lock.token) == (True, 7)
        serving.cancel()
        await closed(lock, back)


@on_virtual_time
async def test_members_that_only_refuse_do_not_put_it_off() -> None:
    async with given(2) as world:
        lock, stream = await held(world)

        async def refuse(number: int) -> None:
            while True:
                opened = await world.members[number].stream()
                await opened.fail(GONE)
                await asyncio.sleep(0.5)

        await stream.fail(GONE)
        refusing = [asyncio.create_task(refuse(number)) for number in range(2)]
        await lock.lost.wait()
        assert now() == pytest.approx(TTL, abs=1e-6)
        for task in refusing:
            task.cancel()
        await lock.close()


@on_virtual_time
async def test_what_was_lost_while_it_was_away_is_lost_at_once() -> None:
    async with given() as world:
        lock, stream = await held(world)
        await stream.fail(GONE)
        again = await world.member.stream()
        await again.heard()
        await again.fail(LOST)
        await lock.lost.wait()
        assert now() < 1
        assert lock.error is not None
        assert (lock.error.reason, lock.held) == ("LOCK_LOST", False)
        await lock.close()
        assert (world.member.given_back, world.member.idle) == ([], True)


@on_virtual_time
async def test_a_turn_that_comes_unasked_counts_from_the_last_request_that_was_answered() -> None:
    async with given() as world:
        lock = world.locks.lock("x", ttl=TTL)
        entering = asyncio.create_task(lock.__aenter__())
        stream = await world.member.stream()
        await stream.heard()
        stream.answer(queued())
        assert (await stream.heard()).at == THIRD  # the kernel may never hear this one
        stream.answer(acquired())
        await entering
        assert lock.held
        await lock.lost.wait()
        assert now() == pytest.approx(TTL, abs=1e-6)
        await lock.close()


@on_virtual_time
async def test_a_turn_that_comes_unasked_answers_no_renewal() -> None:
    async with given() as world:
        lock = world.locks.lock("x", ttl=TTL)
        entering = asyncio.create_task(lock.__aenter__())
        stream = await world.member.stream()
        await stream.heard()
        stream.answer(queued())
        await stream.heard()
        stream.answer(acquired())
        await entering
        stream.answer(ALIVE)  # to the renewal
        assert (await stream.heard()).at == 2 * THIRD
        stream.answer(ALIVE)
        await closed(lock, stream)
