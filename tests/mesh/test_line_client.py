"""The protocol of the client programs, as Python's speaks it, with a real endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.mesh.builds import build
from tests.mesh.endpoint import CALL_ID, Behaviour, Endpoint
from tests.mesh.line_client import LineClient, running
from tests.mesh.tally import Tally


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint("e1", Behaviour())
    await endpoint.start()
    yield endpoint
    await endpoint.stop()


@pytest.fixture
async def client(tmp_path: Path, endpoint: Endpoint) -> AsyncIterator[LineClient]:
    command = build("python")
    assert command
    async with running(command, {}, tmp_path / "log") as client:
        await client.ask("open", "a", target=f"dns:///127.0.0.1:{endpoint.port}")
        yield client


async def tally(client: LineClient, op: str, **fields: object) -> Tally:
    return Tally.of(await client.ask(op, "a", **fields))


async def test_calls_are_counted_by_status_and_by_endpoint(client: LineClient, endpoint: Endpoint) -> None:
    told = await tally(client, "call", n=20, concurrency=4)
    assert told.only("e1")
    assert told.calls == 20
    assert told.share("e1") == 1
    endpoint.behaviour.fails = grpc.StatusCode.ABORTED
    told = await tally(client, "call", n=3)
    assert told.fails_with("ABORTED")
    assert told.failed == {"ABORTED": 3}
    assert told.details == ("e1 fails as asked",)


async def test_a_call_that_fails_at_first_succeeds_when_it_is_seen_again(
    client: LineClient, endpoint: Endpoint
) -> None:
    endpoint.behaviour.fails_first = True
    assert (await tally(client, "call", metadata={CALL_ID: "x"})).fails_with("UNAVAILABLE")
    assert (await tally(client, "call", metadata={CALL_ID: "x"})).only("e1")


async def test_a_load_goes_on_until_it_is_ended_and_nothing_of_it_is_lost(
    client: LineClient, endpoint: Endpoint
) -> None:
    await client.ask("load", "a", rps=200)
    counted = 0
    while counted < 20:
        counted += (await tally(client, "loaded")).calls
    counted += (await tally(client, "unload")).calls
    assert counted == endpoint.calls.total()
    with pytest.raises(AssertionError, match="there is no load"):
        await client.ask("unload", "a")


async def test_as_many_calls_as_asked_for_are_under_way_at_once(client: LineClient, endpoint: Endpoint) -> None:
    endpoint.behaviour.delay = 0.05
    await tally(client, "call", n=12, concurrency=3, method="/mesh.Echo/Other")
    assert endpoint.most["/mesh.Echo/Other"] == 3


async def test_what_cannot_be_done_is_told_and_the_client_goes_on(client: LineClient) -> None:
    for op, channel in (("call", "none"), ("nonsense", "a")):
        with pytest.raises(AssertionError, match=op):
            await client.ask(op, channel)
    assert (await tally(client, "call")).only("e1")


async def test_a_client_that_has_ended_is_told_of_with_its_log(client: LineClient) -> None:
    await client.end()
    with pytest.raises(AssertionError, match="the client has ended"):
        await client.ask("call", "a")


async def test_commands_are_carried_out_beside_each_other(client: LineClient, endpoint: Endpoint) -> None:
    endpoint.behaviour.delay = 5
    slow = asyncio.create_task(client.ask("call", "a", method="/mesh.Echo/Slow"))
    await endpoint.called.wait()
    endpoint.behaviour.delay = 0
    assert (await tally(client, "call")).only("e1")
    assert not slow.done()
    slow.cancel()


async def test_a_client_that_ends_while_it_is_asked_is_told_of(client: LineClient, endpoint: Endpoint) -> None:
    endpoint.behaviour.delay = 5
    asked = asyncio.create_task(client.ask("call", "a"))
    await endpoint.called.wait()
    await client.end()
    with pytest.raises(AssertionError, match="the client has ended"):
        await asked
