"""Calls that belong to another member: what goes there, and what comes back, in every shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishFramesResponse, PublishRequest
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.topic_service_pb2 import VerifyTopicRequest, VerifyTopicResponse
from sira.registry.v1.registry_service_pb2 import ReportLoadRequest

from sira_grpc.config import LimitsConfig
from sira_grpc.errors import FieldViolation, InvalidField, TopicFull
from sira_grpc.rpc.call import Context, current_call
from tests.integration.edge_server import failure, failure_of
from tests.integration.forwarding_world import FRAMES, PUBLISH, REPORT, TOPIC, VERIFY, world

REQUEST = PublishRequest(topic=TOPIC, records=[Record(payload=b"x")])
FIRST = PublishFramesRequest(topic=TOPIC, frame=b"first")


async def test_each_shape_is_served_by_the_owner() -> None:
    async with world() as members:
        first, owner = members.members
        assert (await first.call(PUBLISH)(REQUEST)).records[0].partition == 1
        assert [r.records async for r in first.call(VERIFY)(VerifyTopicRequest(name=TOPIC))] == [0, 1, 2]
        reports = [ReportLoadRequest(lease_key="k")] * 3
        assert (await first.call(REPORT)(iter(reports))).accepted == 3
        frames = [FIRST, *(PublishFramesRequest(frame=bytes(size)) for size in range(5))]
        assert [r.offset async for r in first.call(FRAMES)(iter(frames))] == [5, 0, 1, 2, 3, 4]
        assert first.shapes.calls == []
        assert owner.shapes.calls == ["publish", "verify", "report", "frames"]


async def test_what_is_here_stays_here() -> None:
    async with world() as members:
        first, other = members.members
        members.own("m0")
        assert (await first.call(PUBLISH)(REQUEST)).records[0].partition == 0
        assert [r.partition async for r in first.call(FRAMES)(iter([FIRST, FIRST]))] == [0, 0]
        assert [r async for r in first.call(FRAMES)(iter([]))] == []
        assert other.shapes.calls == []


async def test_a_large_message_goes_through() -> None:
    async with world() as members:
        first, _ = members.members
        frame = bytes(4_000_000)
        responses = first.call(FRAMES)(iter([PublishFramesRequest(topic=TOPIC, frame=frame)] * 3))
        assert [r.offset async for r in responses] == [len(frame)] * 3


async def test_the_client_closing_its_side_is_seen_by_the_owner() -> None:
    async with world() as members:
        first, owner = members.members

        async def frames(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            seen = [request async for request in requests]
            yield PublishFramesResponse(count=len(seen))

        owner.shapes.frames = frames  # type: ignore[method-assign]
        call = first.call(FRAMES)()
        for _ in range(3):
            await call.write(FIRST)
        await call.done_writing()
        assert (await call.read()).count == 3
        assert await call.read() is aio.EOF


async def test_status_details_and_metadata_come_back_as_the_owner_gave_them() -> None:
    async with world() as members:
        first, owner = members.members

        async def publish(request: Any, context: Context) -> Any:
            await context.send_initial_metadata((("x-first", "1"),))
            context.set_trailing_metadata((("x-last-bin", b"\x00\xff"),))
            raise TopicFull("the topic is full", metadata={"topic": TOPIC}, retry_after=1.5)

        async def verify(request: Any, context: Context) -> AsyncIterator[Any]:
            yield VerifyTopicResponse(records=1)
            raise InvalidField([FieldViolation("name", "is odd")])

        owner.shapes.publish = publish  # type: ignore[method-assign]
        owner.shapes.verify = verify  # type: ignore[method-assign]
        through = await failure(first.call(PUBLISH)(REQUEST))
        assert through == await failure(owner.call(PUBLISH)(REQUEST))
        assert (through.reason, through.retry_after) == ("TOPIC_FULL", 1.5)
        call = first.call(VERIFY)(VerifyTopicRequest(name=TOPIC))
        assert (await call.read()).records == 1
        with pytest.raises(aio.AioRpcError) as error:
            await call.read()
        assert failure_of(error.value).violations == {"name": "is odd"}


async def test_metadata_of_answers_comes_back() -> None:
    async with world() as members:
        first, owner = members.members
        publish = owner.shapes.publish

        async def marked(request: Any, context: Context) -> Any:
            await context.send_initial_metadata((("x-first", "1"),))
            context.set_trailing_metadata((("x-last-bin", b"\x00\xff"),))
            return await publish(request, context)

        owner.shapes.publish = marked  # type: ignore[method-assign]
        call = first.call(PUBLISH)(REQUEST)
        await call
        assert dict(await call.initial_metadata())["x-first"] == "1"
        assert dict(await call.trailing_metadata())["x-last-bin"] == b"\x00\xff"


async def test_the_owner_knows_the_caller_and_what_goes_along() -> None:
    async with world() as members:
        first, owner = members.members
        seen: list[Any] = []
        publish = owner.shapes.publish

        async def looking(request: Any, context: Context) -> Any:
            call = current_call()
            seen.append((call.forwarded, call.identity, call.caller, dict(context.invocation_metadata() or ())))
            return await publish(request, context)

        owner.shapes.publish = looking  # type: ignore[method-assign]
        sent = (("sira-fencing", "namespaces/default/locks/l=7"), ("traceparent", "00-1-2-01"), ("authorization", "no"))
        await first.call(PUBLISH)(REQUEST, metadata=sent)
        forwarded, identity, caller, metadata = seen[0]
        assert (forwarded, identity, caller) == ("m0", "", "127.0.0.1")
        assert metadata["sira-fencing"] == "namespaces/default/locks/l=7"
        assert metadata["traceparent"] == "00-1-2-01"
        assert "authorization" not in metadata


async def test_a_request_that_breaks_a_rule_is_refused_here() -> None:
    async with world() as members:
        first, owner = members.members
        told = await failure(first.call(PUBLISH)(PublishRequest(topic=TOPIC)))
        assert (told.reason, owner.shapes.calls) == ("INVALID_FIELD", [])


async def test_a_bad_message_ends_a_stream_after_the_answers_to_what_came_before() -> None:
    async with world() as members:
        first, _ = members.members
        call = first.call(FRAMES)(iter([FIRST, FIRST, PublishFramesRequest(topic="no topic")]))
        assert [(await call.read()).offset for _ in range(2)] == [5, 5]
        with pytest.raises(aio.AioRpcError) as error:
            await call.read()
        assert failure_of(error.value).reason == "INVALID_FIELD"


@pytest.mark.parametrize("method", [PUBLISH, FRAMES, VERIFY])
async def test_cancelling_reaches_the_owner(method: str) -> None:
    async with world() as members:
        first, owner = members.members
        begun, ended = asyncio.Event(), asyncio.Event()

        async def hang(context: Context) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async def publish(request: Any, context: Context) -> Any:
            await hang(context)

        async def streaming(request: Any, context: Context) -> AsyncIterator[Any]:
            await hang(context)
            yield None

        owner.shapes.publish = publish  # type: ignore[method-assign]
        owner.shapes.frames = owner.shapes.verify = streaming  # type: ignore[method-assign,assignment]
        requests: dict[str, Any] = {PUBLISH: REQUEST, FRAMES: iter([FIRST]), VERIFY: VerifyTopicRequest(name=TOPIC)}
        call = first.call(method)(requests[method])
        await begun.wait()
        call.cancel()
        await ended.wait()


async def test_the_deadline_is_the_owners_too() -> None:
    async with world() as members:
        first, owner = members.members
        ended: asyncio.Queue[float | None] = asyncio.Queue()

        async def publish(request: Any, context: Context) -> Any:
            left = context.time_remaining()
            try:
                await asyncio.Event().wait()
            finally:
                ended.put_nowait(left)

        owner.shapes.publish = publish  # type: ignore[method-assign]
        told = await failure(first.call(PUBLISH)(REQUEST, timeout=0.3))
        assert told.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await ended.get() is not None


async def test_a_slow_reader_holds_the_owner_back() -> None:
    async with world() as members:
        first, owner = members.members
        made = 0

        async def verify(request: Any, context: Context) -> AsyncIterator[Any]:
            nonlocal made
            for made in range(1, 20_001):
                yield VerifyTopicResponse(records=made, head=bytes(4096))

        owner.shapes.verify = verify  # type: ignore[method-assign]
        call = first.call(VERIFY)(VerifyTopicRequest(name=TOPIC))
        assert (await call.read()).records == 1
        before = -1
        while made != before:
            before = made
            for _ in range(2_000):  # turns of the event loop in which nothing moves: all windows are full
                await asyncio.sleep(0)
        assert made < 15_000
        assert [r.records async for r in _rest(call)] == list(range(2, 20_001))


async def test_an_owner_slow_to_read_holds_the_client_back() -> None:
    async with world() as members:
        first, owner = members.members
        go = asyncio.Event()

        async def frames(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            await go.wait()
            yield PublishFramesResponse(count=len([request async for request in requests]))

        owner.shapes.frames = frames  # type: ignore[method-assign]
        written = 0
        call = first.call(FRAMES)()

        async def write() -> None:
            nonlocal written
            for _ in range(1_500):
                await call.write(PublishFramesRequest(topic=TOPIC, frame=bytes(65_536)))
                written += 1
            await call.done_writing()

        writing = asyncio.create_task(write())
        before = -1
        while written != before:
            before = written
            for _ in range(2_000):
                await asyncio.sleep(0)
        assert written < 1_000
        go.set()
        await writing
        assert (await call.read()).count == 1_500


async def test_a_stream_of_ten_thousand_messages_keeps_its_order() -> None:
    async with world() as members:
        first, _ = members.members
        call = first.call(FRAMES)(iter([FIRST, *(PublishFramesRequest(frame=bytes(i % 97)) for i in range(10_000))]))
        assert [r.offset async for r in call] == [5, *(i % 97 for i in range(10_000))]


async def test_the_drain_of_this_member_ends_what_it_forwards() -> None:
    async with world() as members:
        first, owner = members.members
        ended = asyncio.Event()
        frames = owner.shapes.frames

        async def noted(requests: Any, context: Context) -> AsyncIterator[Any]:
            try:
                async for response in frames(requests, context):
                    yield response
            finally:
                ended.set()

        owner.shapes.frames = noted  # type: ignore[method-assign]
        call = first.call(FRAMES)()
        await call.write(FIRST)
        assert (await call.read()).offset == 5
        await first.server.drain()
        with pytest.raises(aio.AioRpcError) as error:
            await call.read()
        assert failure_of(error.value).reason == "KERNEL_STOPPING"
        await ended.wait()


async def test_a_forwarded_call_counts_for_its_caller() -> None:
    async with world(limits=LimitsConfig(max_streams_per_caller=1)) as members:
        first, _ = members.members
        held = first.call(FRAMES)()
        await held.write(FIRST)
        assert (await held.read()).offset == 5
        call = first.call(FRAMES)(iter([FIRST]))
        with pytest.raises(aio.AioRpcError) as error:
            await call.read()
        assert failure_of(error.value).metadata["caller"] == "127.0.0.1"


async def _rest(call: Any) -> AsyncIterator[Any]:
    while (response := await call.read()) is not aio.EOF:
        yield response
