"""How a lock is given back: on its stream, or by its key where that is gone."""

from __future__ import annotations

import asyncio

import pytest
from sira_client import NotFoundError, UnavailableError

from tests.unit.client.locks.scripted_kernel import GONE, RELEASED, TTL, given
from tests.unit.client.locks.test_holding import closed, held
from tests.unit.client.locks.virtual_time import now, on_virtual_time


@on_virtual_time
async def test_it_waits_for_the_answer_that_is_under_way() -> None:
    async with given() as world:
        lock, stream = await held(world)
        assert (await stream.heard()).step == "renew"
        closing = asyncio.create_task(lock.close())
        await asyncio.sleep(1)
        assert not lock.held
        assert not closing.done()
        stream.answer(RELEASED)
        assert (await stream.heard()).step == "end"
        stream.end()
        await closing
        await lock.close()
        assert not world.member.given_back


@on_virtual_time
async def test_a_release_that_is_not_confirmed_is_made_by_the_key() -> None:
    async with given() as world:
        lock, stream = await held(world)
        closing = asyncio.create_task(lock.close())
        assert (await stream.heard()).step == "end"
        await stream.fail(GONE)
        await closing
        assert [heard.request.lock_key for heard in world.member.given_back] == ["k"]


@on_virtual_time
async def test_a_release_that_is_not_answered_is_made_by_the_key() -> None:
    async with given(default_timeout=2) as world:
        lock, stream = await held(world)
        closing = asyncio.create_task(lock.close())
        assert (await stream.heard()).step == "end"
        await closing
        assert [heard.at for heard in world.member.given_back] == [2]


@on_virtual_time
async def test_what_cannot_be_given_back_ends_with_its_ttl(caplog: pytest.LogCaptureFixture) -> None:
    async with given(default_timeout=60) as world:
        lock, stream = await held(world)
        await stream.fail(GONE)
        await asyncio.sleep(0)
        world.member.failures.extend(UnavailableError("gone") for _ in range(100_000))
        await lock.close()
        assert now() == pytest.approx(TTL, abs=0.1)
        assert len(world.member.given_back) > 2
        assert "ends with its TTL" in caplog.text


@on_virtual_time
async def test_a_refusal_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with given() as world:
        lock, stream = await held(world)
        await stream.fail(GONE)
        await asyncio.sleep(0)
        world.member.failures.append(NotFoundError("not here"))
        await lock.close()
        assert len(world.member.given_back) == 1
        assert now() < 0.1
        assert "ends with its TTL" in caplog.text


@on_virtual_time
async def test_closing_by_many_at_once_gives_back_once() -> None:
    async with given() as world:
        lock, stream = await held(world)
        others = [asyncio.create_task(lock.close()) for _ in range(5)]
        await closed(lock, stream)
        await asyncio.gather(*others)
        assert not world.member.given_back
        with pytest.raises(RuntimeError, match="only once"):
            await lock.__aenter__()
