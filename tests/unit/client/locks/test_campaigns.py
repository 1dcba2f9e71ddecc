"""Campaigns over lost streams: what is proclaimed, and what observers are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sira.cluster.v1.election_service_pb2 import (
    CampaignAlive,
    CampaignElected,
    CampaignProclaimed,
    CampaignResponse,
    CampaignStanding,
    Election,
    Leader,
    ObserveResponse,
)
from sira_client import LockLostError, SiraError
from sira_client.locks import Leadership

from tests.unit.client.locks.scripted_kernel import GONE, LOST, TTL, Given, Stream, given
from tests.unit.client.locks.test_waiting import DENIED
from tests.unit.client.locks.virtual_time import now, on_virtual_time

ALIVE = CampaignResponse(alive=CampaignAlive())
STANDING = CampaignResponse(standing=CampaignStanding(campaign_key="k", ahead=1))
ELECTED = CampaignResponse(elected=CampaignElected(campaign_key="k", term=3))
PROCLAIMED = CampaignResponse(proclaimed=CampaignProclaimed())
NAME = "namespaces/default/elections/x"


async def leads(world: Given) -> tuple[Leadership, Stream]:
    leadership = world.locks.election("x").campaign(b"one", ttl=TTL)
    entering = asyncio.create_task(leadership.__aenter__())
    stream = await world.member.stream()
    assert (await stream.heard()).request.stand.value == b"one"
    stream.answer(ELECTED)
    await entering
    return leadership, stream


async def value(stream: Stream) -> bytes:
    """What is proclaimed next."""
    heard = await stream.heard()
    assert heard.step == "proclaim"
    return bytes(heard.request.proclaim.value)


@on_virtual_time
async def test_what_is_proclaimed_is_told_once_it_is_durable() -> None:
    async with given() as world:
        leadership, stream = await leads(world)
        proclaiming = asyncio.create_task(leadership.proclaim(b"two"))
        assert await value(stream) == b"two"
        await asyncio.sleep(1)
        assert not proclaiming.done()
        stream.answer(PROCLAIMED)
        await proclaiming
        assert (await stream.heard()).at == TTL / 3  # it was a sign of life
        assert (leadership.leads, leadership.term) == (True, 3)
        stream.answer(ALIVE)


@on_virtual_time
async def test_a_proclamation_is_made_again_on_the_next_stream() -> None:
    async with given(2) as world:
        leadership, stream = await leads(world)
        proclaiming = asyncio.create_task(leadership.proclaim(b"two"))
        await value(stream)
        await stream.fail(GONE)
        again = await world.members[1].stream()
        assert (await again.heard()).request.campaign_key == "k"
        again.answer(ELECTED)
        assert await value(again) == b"two"
        again.answer(PROCLAIMED)
        await proclaiming


@on_virtual_time
async def test_who_stands_anew_stands_with_what_was_proclaimed_last_and_with_the_same_key() -> None:
    async with given() as world:
        leadership = world.locks.election("x").campaign(b"one", ttl=TTL)
        entering = asyncio.create_task(leadership.__aenter__())
        stream = await world.member.stream()
        first = (await stream.heard()).request.stand
        proclaiming = asyncio.create_task(leadership.proclaim(b"two"))
        stream.answer(STANDING)
        assert await value(stream) == b"two"
        stream.answer(PROCLAIMED)
        await proclaiming
        await stream.fail(LOST)
        again = await world.member.stream()
        second = (await again.heard()).request.stand
        assert (second.key_secret, second.value) == (first.key_secret, b"two")
        again.answer(ELECTED)
        await entering
        assert leadership.leads


@on_virtual_time
async def test_one_that_was_cancelled_does_not_answer_for_the_next() -> None:
    async with given() as world:
        leadership, stream = await leads(world)
        first = asyncio.create_task(leadership.proclaim(b"two"))
        await value(stream)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(leadership.proclaim(b"three"))
        await asyncio.sleep(0)
        stream.answer(PROCLAIMED)  # the first one
        assert await value(stream) == b"three"
        assert not second.done()
        stream.answer(PROCLAIMED)
        await second


@on_virtual_time
async def test_proclamations_are_made_in_their_order() -> None:
    async with given() as world:
        leadership, stream = await leads(world)
        tasks = [asyncio.create_task(leadership.proclaim(str(number).encode())) for number in range(10)]
        for number in range(10):
            assert await value(stream) == str(number).encode()
            stream.answer(PROCLAIMED)
        await asyncio.gather(*tasks)


@on_virtual_time
async def test_a_proclamation_fails_with_the_lead() -> None:
    async with given() as world:
        leadership, stream = await leads(world)
        proclaiming = asyncio.create_task(leadership.proclaim(b"two"))
        await value(stream)
        await stream.fail(GONE)
        await (await world.member.stream()).fail(LOST)
        with pytest.raises(SiraError, match="as the test wants it"):
            await proclaiming
        assert leadership.lost.is_set()
        with pytest.raises(LockLostError):
            await leadership.proclaim(b"three")
        assert now() < 1


def election(revision: int, leader: Leader | None = None) -> ObserveResponse:
    return ObserveResponse(election=Election(name=NAME, revision=revision, leader=leader))


@on_virtual_time
async def test_an_observer_is_told_nothing_twice_and_nothing_older() -> None:
    async with given(2) as world:
        one, two, three = (Leader(label=str(term), term=term) for term in (1, 2, 3))
        told: asyncio.Queue[Any] = asyncio.Queue()

        async def observe() -> None:
            try:
                async for leader in world.locks.election("x").observe():
                    told.put_nowait(leader)
            except SiraError as error:
                told.put_nowait(error.reason)

        observing = asyncio.create_task(observe())
        stream = await world.member.stream()
        for response in (election(1), election(2, one), election(5, two)):
            stream.answer(response)
        await stream.fail(GONE)
        behind = await world.members[1].stream()
        for response in (election(2, one), election(3), election(5, two)):
            behind.answer(response)
        behind.end()
        back = await world.member.stream()
        for response in (election(6, two), election(8, three), election(9)):
            back.answer(response)
        assert [await told.get() for _ in range(5)] == [None, one, two, three, None]
        await back.fail(DENIED)
        assert await told.get() == "PERMISSION_DENIED"
        assert told.empty()
        await observing
