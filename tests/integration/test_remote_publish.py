"""Frames that a member publishes itself, at the member that serves their topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishFramesResponse
from sira.bus.v1.record_pb2 import Record
from sira_client.frames import checksum, pack

from sira_grpc.bus.accepting import frame_of
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.errors import (
    FieldViolation,
    InvalidField,
    NotOwner,
    SiraError,
    StoreUnavailable,
    TopicFull,
    TopicNotFound,
)
from sira_grpc.rpc.call import Context
from tests.integration.forwarding_world import TOPIC, World, world


def _incoming() -> Incoming:
    return frame_of([Record(payload=b"x"), Record(payload=b"y")])


async def _publish(made: World) -> Published:
    return await made.members[0].forwarding.remote_publish.publish(TOPIC, 3, _incoming())


async def test_a_frame_goes_to_the_owner_as_it_is() -> None:
    async with world() as made:
        got: list[PublishFramesRequest] = []

        async def frames(requests: AsyncIterator[PublishFramesRequest], context: Context) -> AsyncIterator[Any]:
            async for request in requests:
                got.append(request)
                yield PublishFramesResponse(partition=3, offset=7, count=2, duplicate=True)

        made.members[1].shapes.frames = frames  # type: ignore[method-assign]  # a test replaces what it needs
        assert await _publish(made) == Published(7, 2, duplicate=True)
        (request,) = got
        data = pack([Record(payload=b"x"), Record(payload=b"y")])
        assert (request.topic, request.partition) == (TOPIC, 3)
        assert (request.frame, request.checksum, request.producer_id) == (data, checksum(data), "")


def _refuses(made: World, *errors: SiraError) -> list[str]:
    """The owner refuses as often as there are errors, and then takes it."""
    left, calls = list(errors), list[str]()

    async def frames(requests: AsyncIterator[PublishFramesRequest], context: Context) -> AsyncIterator[Any]:
        async for request in requests:
            calls.append(request.topic)
            if left:
                raise left.pop(0)
            yield PublishFramesResponse(offset=1, count=2)

    made.members[1].shapes.frames = frames  # type: ignore[method-assign]  # a test replaces what it needs
    return calls


@pytest.mark.parametrize(
    "error",
    [
        TopicNotFound("it is not there", metadata={"resource": TOPIC}),
        TopicFull("it is full"),
        StoreUnavailable("the disk is full", metadata={"outcome": "unknown"}),
        NotOwner("it was taken over, and something was under way"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_the_owner_refuses_is_raised_as_it_is(error: SiraError) -> None:
    async with world() as made:
        calls = _refuses(made, error)
        with pytest.raises(type(error)) as refused:
            await _publish(made)
        assert refused.value.message == error.message
        assert error.metadata.items() <= refused.value.metadata.items()
        assert len(calls) == 1


async def test_a_frame_that_breaks_a_rule_of_the_topic() -> None:
    async with world() as made:
        _refuses(made, InvalidField([FieldViolation("frame", "is too large")]))
        with pytest.raises(InvalidField, match=TOPIC):
            await _publish(made)


async def test_a_defect_of_the_owner() -> None:
    async with world() as made:
        _refuses(made, SiraError("a defect"))
        with pytest.raises(StoreUnavailable, match="m1"):
            await _publish(made)


async def test_it_is_sent_again_where_it_was_not_stored() -> None:
    async with world() as made:
        calls = _refuses(made, NotOwner("not yet", metadata={"executed": "no"}))
        assert await _publish(made) == Published(1, 2)
        assert len(calls) == 2


async def test_an_owner_that_cannot_be_reached() -> None:
    async with world(patience=0.1) as made:
        made.addresses["m1"] = ("127.0.0.1:1",)
        with pytest.raises(NotOwner) as refused:
            await _publish(made)
        assert refused.value.metadata["executed"] == "no"


async def test_one_that_has_become_the_owner_says_so() -> None:
    async with world() as made:
        made.own("m0")
        with pytest.raises(NotOwner):
            await _publish(made)


async def test_a_connection_that_is_lost_leaves_it_open_whether_it_was_stored() -> None:
    async with world() as made:
        reached = asyncio.Event()

        async def frames(requests: AsyncIterator[PublishFramesRequest], context: Context) -> AsyncIterator[Any]:
            async for _ in requests:
                reached.set()
                await asyncio.Event().wait()
                yield PublishFramesResponse()

        made.members[1].shapes.frames = frames  # type: ignore[method-assign]  # a test replaces what it needs
        publishing = asyncio.create_task(_publish(made))
        await reached.wait()
        await made.members[0].forwarding.close()
        with pytest.raises(NotOwner) as lost:
            await publishing
        assert lost.value.metadata["executed"] == "unknown"
