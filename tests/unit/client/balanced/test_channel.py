from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from sira_client import (
    Client,
    connect_insecure,
)

from tests.unit.client.balanced.echo_service import (
    BROKEN,
    CONNECTING,
    ONE,
    READY,
    SHUTDOWN,
    call,
    connected,
)
from tests.unit.client.in_memory_kernel import InMemoryKernel


async def test_the_first_call_waits_for_the_first_connection(client: Client, served: InMemoryKernel) -> None:
    async with client.channel("echo") as channel:
        assert channel.get_state() is CONNECTING
        assert await call(channel) in {"a", "b", "c"}
        assert channel.get_state() is READY


async def test_the_other_shapes_of_call_are_balanced_too(client: Client, served: InMemoryKernel) -> None:
    channel = client.channel("echo")
    await connected(channel, 3)
    first = {(await channel.unary_stream("/test.Echo/Out")(b"").read()) for _ in range(3)}
    assert first == {b"a0", b"b0", b"c0"}


async def test_connectivity_is_told(client: Client, served: InMemoryKernel) -> None:
    channel = client.channel("echo")
    assert channel.get_state(try_to_connect=True) is CONNECTING
    await channel.channel_ready()
    assert channel.get_state() is READY
    assert not channel.closed
    await channel.close()
    await channel.close()
    assert channel.get_state() is SHUTDOWN
    assert channel.closed
    with pytest.raises(grpc.aio.UsageError, match="closed"):
        channel.unary_unary(ONE)(b"")


async def test_closing_ends_the_wait_for_a_connection(client: Client, kernel: InMemoryKernel) -> None:
    channel = client.channel("echo")
    waiting = [asyncio.ensure_future(channel.channel_ready()), asyncio.ensure_future(channel.channel_ready())]
    changing = asyncio.ensure_future(channel.wait_for_state_change(BROKEN))
    await channel.wait_for_state_change(CONNECTING)
    await channel.close()
    for waiter in waiting:
        with pytest.raises(grpc.aio.UsageError, match="closed"):
            await waiter
    await changing


async def test_closing_the_client_closes_its_channels(served: InMemoryKernel) -> None:
    async with connect_insecure(served.address) as client:
        closed, still_open = client.channel("echo"), client.channel("echo")
        await closed.close()
        client.channel("echo")
        assert closed not in client._owned
        assert await call(still_open) in {"a", "b", "c"}
    assert still_open.closed


async def test_interceptors_and_options_reach_each_connection(client: Client, served: InMemoryKernel) -> None:
    class Seen(grpc.aio.UnaryUnaryClientInterceptor):
        count = 0

        async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            Seen.count += 1
            return await continuation(details, request)

    channel = client.channel("echo", interceptors=[Seen()], options=[("grpc.max_receive_message_length", 0)])
    with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_EXHAUSTED"):
        await call(channel)
    assert Seen.count == 1


async def test_a_channel_has_no_deadline_unless_it_is_given_one(client: Client, served: InMemoryKernel) -> None:
    assert client.channel("echo").unary_unary(ONE)(b"").time_remaining() is None
    bounded = client.channel("echo", default_timeout=7).unary_unary(ONE)(b"")
    assert bounded.time_remaining() is not None
