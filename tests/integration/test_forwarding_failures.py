"""Owners that die, change, are not there or see it otherwise: what is tried again, and what the client is told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc import aio
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishRequest
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.topic_service_pb2 import VerifyTopicRequest
from sira.registry.v1.registry_service_pb2 import ReportLoadRequest

from sira_grpc.clock import SystemClock
from sira_grpc.errors import NotOwner
from sira_grpc.rpc.call import Context
from sira_grpc.rpc.forwarding.signature import HEADER
from tests.integration.edge_server import Failure, failure
from tests.integration.forwarding_world import FRAMES, PUBLISH, REPORT, TOPIC, VERIFY, Member, world

REQUEST = PublishRequest(topic=TOPIC, records=[Record(payload=b"x")])
FIRST = PublishFramesRequest(topic=TOPIC, frame=b"first")
METHODS = [PUBLISH, VERIFY, REPORT, FRAMES]


def _in_turn(*members: str) -> Callable[[], str]:
    """An owner that is another one each time that it is asked for, and then stays the last."""
    turns = itertools.chain(members, itertools.repeat(members[-1]))
    return lambda: next(turns)


async def _served_by(member: Member, method: str) -> None:
    """Makes a call of a method; every one of its messages must go through, once."""
    if method == PUBLISH:
        await member.call(PUBLISH)(REQUEST)
    elif method == VERIFY:
        assert len([r async for r in member.call(VERIFY)(VerifyTopicRequest(name=TOPIC))]) == 3
    elif method == REPORT:
        assert (await member.call(REPORT)(iter([ReportLoadRequest(lease_key="k")] * 50))).accepted == 50
    else:
        frames = [FIRST, *(PublishFramesRequest(frame=bytes(i)) for i in range(50))]
        assert [r.offset async for r in member.call(FRAMES)(iter(frames))] == [5, *range(50)]


async def _ended(call: Any) -> Failure:
    async def all_of_it() -> None:
        while await call.read() is not aio.EOF:
            pass

    return await failure(all_of_it)


@pytest.mark.parametrize("method", METHODS)
async def test_an_owner_that_sees_it_otherwise_is_left_for_another(method: str) -> None:
    async with world(3) as members:
        first, second, third = members.members
        first.placement.owners = _in_turn("m1", "m1", "m2")
        await _served_by(first, method)
        assert (second.shapes.calls, len(third.shapes.calls)) == ([], 1)


@pytest.mark.parametrize("method", METHODS)
async def test_a_dead_owner_is_left_for_another(method: str) -> None:
    async with world(3) as members:
        first, second, third = members.members
        await second.server.stop()
        first.placement.owners = _in_turn("m1", "m1", "m2")
        await _served_by(first, method)
        assert third.shapes.calls != []


@pytest.mark.parametrize("method", METHODS)
async def test_what_comes_home_is_served_here(method: str) -> None:
    async with world() as members:
        first, second = members.members
        members.own("m0", among=[second])
        first.placement.owners = _in_turn("m1", "m1", "m0")
        await _served_by(first, method)
        assert (len(first.shapes.calls), second.shapes.calls) == (1, [])


async def test_an_owner_that_drains_is_left_for_another() -> None:
    async with world(3) as members:
        first, second, third = members.members
        members.own("m1")
        await _served_by(first, PUBLISH)
        await second.server.drain()
        members.own("m2", among=[third])
        first.placement.owners = _in_turn("m1", "m1", "m2")
        await _served_by(first, PUBLISH)
        assert third.shapes.calls == ["publish"]


async def test_nobody_in_time_is_told_as_not_executed() -> None:
    async with world(patience=0.3) as members:
        first, second = members.members
        members.own("nobody")
        for member, told in ((first, "could not be reached"), (second, "could not be reached")):
            refused = await failure(member.call(PUBLISH)(REQUEST))
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_OWNER")
            assert refused.metadata == {"member": "nobody", "executed": "no"}
            assert told in refused.message
            assert refused.retry_after is not None


async def test_the_callers_deadline_ends_the_attempts() -> None:
    async with world(patience=60) as members:
        first, _ = members.members
        members.own("nobody")
        told = await failure(first.call(PUBLISH)(REQUEST, timeout=0.5))
        assert told.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)


async def test_a_call_goes_no_further_than_to_one_member() -> None:
    async with world(3, patience=0.2) as members:
        first, second, third = members.members
        first.placement.owners = lambda: "m1"
        second.placement.owners = lambda: "m2"
        told = await failure(first.call(PUBLISH)(REQUEST))
        assert (told.reason, told.metadata["executed"]) == ("NOT_OWNER", "no")
        assert [second.shapes.calls, third.shapes.calls] == [[], []]


async def test_a_not_owner_that_may_be_half_done_is_not_repeated() -> None:
    async with world() as members:
        first, second = members.members
        calls = 0

        async def publish(request: Any, context: Context) -> Any:
            nonlocal calls
            calls += 1
            raise NotOwner("deposed", retry_after=0.1)

        second.shapes.publish = publish  # type: ignore[method-assign]
        told = await failure(first.call(PUBLISH)(REQUEST))
        assert (told.reason, told.message, told.retry_after, calls) == ("NOT_OWNER", "deposed", 0.1, 1)


async def test_a_not_owner_that_says_that_nothing_was_done_is_repeated() -> None:
    async with world() as members:
        first, second = members.members
        publish = second.shapes.publish
        calls = 0

        async def late(request: Any, context: Context) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise NotOwner("not open yet", metadata={"executed": "no"})
            return await publish(request, context)

        second.shapes.publish = late  # type: ignore[method-assign]
        await _served_by(first, PUBLISH)
        assert calls == 2


@pytest.mark.parametrize("method", [PUBLISH, FRAMES, VERIFY])
async def test_an_owner_that_is_cut_off_under_way_leaves_the_outcome_unknown(method: str) -> None:
    async with world(patience=0.3) as members:
        first, second = members.members
        begun = asyncio.Event()
        hung = asyncio.Event()

        async def publish(request: Any, context: Context) -> Any:
            begun.set()
            await hung.wait()

        async def stream(requests: Any, context: Context) -> AsyncIterator[Any]:
            begun.set()
            await hung.wait()
            yield None

        second.shapes.publish = publish  # type: ignore[method-assign]
        second.shapes.frames = second.shapes.verify = stream  # type: ignore[method-assign,assignment]
        requests: dict[str, Any] = {PUBLISH: REQUEST, FRAMES: iter([FIRST]), VERIFY: VerifyTopicRequest(name=TOPIC)}
        call = first.call(method)(requests[method])
        await begun.wait()
        first.placement.set_live("m0")  # as when its heartbeats stop: the call has a moment to end by itself
        told = await (failure(call) if method == PUBLISH else _ended(call))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_OWNER")
        assert told.metadata == {"member": "m1", "executed": "unknown"}


async def test_an_owner_that_stops_in_the_middle_of_a_stream_ends_it() -> None:
    async with world() as members:
        first, second = members.members
        call = first.call(FRAMES)()
        await call.write(FIRST)
        assert (await call.read()).offset == 5
        stopping = asyncio.create_task(second.server.stop())
        assert (await _ended(call)).reason == "KERNEL_STOPPING"
        await stopping


async def test_a_member_that_is_back_is_connected_to_again() -> None:
    async with world() as members:
        first, _ = members.members
        await _served_by(first, PUBLISH)
        first.placement.set_live("m0")
        first.placement.set_live("m0", "m1")
        await _served_by(first, PUBLISH)


async def test_the_next_address_is_tried() -> None:
    async with world() as members:
        first, _ = members.members
        members.addresses["m1"] = ("127.0.0.1:1", *members.addresses["m1"])
        await _served_by(first, FRAMES)


@pytest.mark.parametrize("method", METHODS)
async def test_a_forged_header_is_refused(method: str) -> None:
    async with world() as members:
        _, second = members.members
        forged = ((HEADER, b"forged"),)
        requests: dict[str, Any] = {
            PUBLISH: REQUEST,
            FRAMES: iter([FIRST]),
            VERIFY: VerifyTopicRequest(name=TOPIC),
            REPORT: iter([ReportLoadRequest()]),
        }
        call = second.call(method)(requests[method], metadata=forged)
        told = await (failure(call) if method in (PUBLISH, REPORT) else _ended(call))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
        assert second.shapes.calls == []


async def test_a_header_is_good_for_its_method_only() -> None:
    async with world() as members:
        first, second = members.members
        signer = first.forwarding.signer
        good = signer.sign(PUBLISH, identity="", caller="somebody")
        assert await second.call(PUBLISH)(REQUEST, metadata=((HEADER, good),))
        replayed = second.call(VERIFY)(VerifyTopicRequest(name=TOPIC), metadata=((HEADER, good),))
        assert (await _ended(replayed)).reason == "CREDENTIAL_INVALID"
        twice = second.call(PUBLISH)(REQUEST, metadata=((HEADER, good), (HEADER, good)))
        assert (await failure(twice)).reason == "CREDENTIAL_INVALID"


async def test_a_member_whose_clock_is_wrong_is_told_so_and_its_clients_are_not_blamed() -> None:
    class Late:
        """A clock that was never set."""

        def time_ns(self) -> int:
            return 0

        def monotonic(self) -> float:
            return asyncio.get_running_loop().time()

    async with world(clocks=[Late(), SystemClock()]) as members:
        told = await failure(members.members[0].call(PUBLISH)(REQUEST))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_OWNER")
        assert "clocks" in told.message


@pytest.mark.parametrize("method", [PUBLISH, FRAMES, VERIFY])
async def test_a_connection_that_breaks_under_way_leaves_the_outcome_unknown(method: str) -> None:
    async with world() as members, _Wire(members.addresses["m1"][0]) as wire:
        first, second = members.members
        members.addresses["m1"] = (wire.address,)
        begun = asyncio.Queue[None]()

        async def publish(request: Any, context: Context) -> Any:
            begun.put_nowait(None)
            await asyncio.Event().wait()

        async def stream(requests: Any, context: Context) -> AsyncIterator[Any]:
            begun.put_nowait(None)
            await asyncio.Event().wait()
            yield None

        second.shapes.publish = publish  # type: ignore[method-assign]
        second.shapes.frames = second.shapes.verify = stream  # type: ignore[method-assign,assignment]
        requests: dict[str, Any] = {PUBLISH: REQUEST, FRAMES: iter([FIRST]), VERIFY: VerifyTopicRequest(name=TOPIC)}
        call = first.call(method)(requests[method])
        await begun.get()
        wire.cut()
        told = await (failure(call) if method == PUBLISH else _ended(call))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_OWNER")
        assert told.metadata == {"member": "m1", "executed": "unknown"}
        assert begun.empty()


async def test_a_connection_that_broke_is_made_again() -> None:
    async with world() as members, _Wire(members.addresses["m1"][0]) as wire:
        first, _ = members.members
        members.addresses["m1"] = (wire.address,)
        await _served_by(first, PUBLISH)
        held = first.call(FRAMES)()
        await held.write(FIRST)
        assert (await held.read()).offset == 5
        wire.cut()
        assert (await _ended(held)).metadata["executed"] == "unknown"
        for method in METHODS:
            await _served_by(first, method)


class _Wire:
    """A connection between two members that a test can cut, as when one of them is killed."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""

    async def __aenter__(self) -> _Wire:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        ends = {writer, there_writer}
        self._writers |= ends
        try:
            await asyncio.gather(_pass(reader, there_writer), _pass(there_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
