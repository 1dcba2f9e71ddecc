"""Requests of clients of xDS that are odd: refused with an error that names the field, or taken for what they say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from envoy.config.core.v3.base_pb2 import Node
from grpc import aio

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from tests.integration.raw_calls import UNREADABLE, fields_of, oversized_message
from tests.integration.xds_client import METHODS, MODES, PATIENCE, Mode, XdsClient, envoy_node, fetched, grpc_node
from tests.integration.xds_kernel import XdsKernel, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
MAX_NAMES = 50
TYPES = (LISTENER, ROUTES, CLUSTER, ENDPOINTS, SECRET)
UNKNOWN = "type.googleapis.com/envoy.config.nothing.v3.Nothing"
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NAMES = {"sotw": "resource_names", "delta": "resource_names_subscribe"}
both = pytest.mark.parametrize("mode", MODES)
each_type = pytest.mark.parametrize("type_url", TYPES, ids=lambda url: url.rpartition(".")[2])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("kernel"), max_names=MAX_NAMES) as made:
        yield made


async def refused_field(client: XdsClient) -> str:
    """The field for which a stream ends."""
    error = await client.ended()
    assert error is not None
    return field_of(error)


def field_of(error: aio.AioRpcError) -> str:
    """The one field that an error names."""
    assert error.code() is INVALID, error.details()
    (field,) = fields_of(error)
    return field


@both
async def test_who_does_not_say_who_it_is(kernel: XdsKernel, mode: Mode) -> None:
    async with kernel.client(mode) as client:
        await client.send(type_url=CLUSTER, node=None)
        assert await refused_field(client) == "node"


@both
async def test_who_says_nothing_of_itself(kernel: XdsKernel, mode: Mode) -> None:
    """A client of gRPC whose bootstrap has no node."""
    name = await kernel.service("e1")
    async with kernel.client(mode, Node()) as client:
        assert set((await client.get(LISTENER, name)).resources) == {name}


@both
async def test_who_it_is_is_said_once(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode, grpc_node(namespace="other")) as client:
        short = name.partition(".")[0]
        assert (await client.get(LISTENER, short)).gone == {short}
        await client.subscribe(LISTENER, name, node=grpc_node(namespace="default"))
        answer = await client.told(LISTENER)
        assert set(answer.resources) == {name}, "a node that says something else later changes nothing"


@both
async def test_a_node_as_large_as_that_of_an_envoy(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    node = envoy_node(name)
    for number in range(516):
        extension = node.extensions.add(name=f"envoy.extensions.number.{number}", category="envoy.filters.http")
        extension.type_urls.append(f"envoy.extensions.filters.http.number_{number}.v3.{'x' * 40}")
    assert node.ByteSize() > 61_000
    async with kernel.client(mode, node) as client:
        assert set((await client.get(CLUSTER)).resources) == {name}
        await client.quiet(ENDPOINTS)


@both
async def test_a_node_with_a_long_id(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode, grpc_node(id_="x" * 1024)) as client:
        assert set((await client.get(CLUSTER, name)).resources) == {name}
    async with kernel.client(mode, grpc_node(id_="x" * 1025)) as client:
        await client.subscribe(CLUSTER, name)
        assert await refused_field(client) == "node.id"


@both
async def test_as_many_names_as_there_may_be(kernel: XdsKernel, mode: Mode) -> None:
    names = [f"n{number}.default" for number in range(MAX_NAMES)]
    async with kernel.client(mode) as client:
        assert len((await client.get(ENDPOINTS, *names)).gone) == MAX_NAMES
        await client.quiet()


@both
async def test_too_many_names_at_once(kernel: XdsKernel, mode: Mode) -> None:
    names = [f"n{number}.default" for number in range(MAX_NAMES + 1)]
    async with kernel.client(mode) as client:
        await client.subscribe(ENDPOINTS, *names)
        assert await refused_field(client) == NAMES[mode]


@both
async def test_too_many_names_little_by_little(kernel: XdsKernel, mode: Mode) -> None:
    async with kernel.client(mode) as client:
        for number in range(0, MAX_NAMES, 10):
            await client.get(ENDPOINTS, *(f"n{number + more}.default" for more in range(10)))
        await client.subscribe(ENDPOINTS, "one-more.default")
        assert await refused_field(client) == NAMES[mode]


@both
async def test_names_that_are_let_go_make_room(kernel: XdsKernel, mode: Mode) -> None:
    async with kernel.client(mode) as client:
        for turn in range(5):
            names = [f"turn-{turn}-{number}.default" for number in range(MAX_NAMES // 2)]
            assert (await client.get(ENDPOINTS, *names)).gone == set(names)
            await client.unsubscribe(ENDPOINTS, *names)
        await client.quiet()


@both
async def test_a_type_that_nobody_knows(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(UNKNOWN, "x")
        await client.subscribe(UNKNOWN)
        assert set((await client.get(CLUSTER, name)).resources) == {name}
        await client.quiet()


@both
async def test_no_type_on_a_stream_of_all(kernel: XdsKernel, mode: Mode) -> None:
    async with kernel.client(mode) as client:
        await client.send(**{NAMES[mode]: ["web.default"]})
        assert await refused_field(client) == "type_url"


@both
@each_type
async def test_another_type_on_a_stream_of_one(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    async with kernel.client(mode, type_url=type_url) as client:
        await client.subscribe(ENDPOINTS if type_url == CLUSTER else CLUSTER, "web.default")
        assert await refused_field(client) == "type_url"


@each_type
async def test_another_type_fetched(kernel: XdsKernel, type_url: str) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await fetched(kernel.channel, type_url, ["web.default"], type_url=UNKNOWN)
    assert field_of(refused.value) == "type_url"


async def test_fetched_by_nobody(kernel: XdsKernel) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await fetched(kernel.channel, CLUSTER, ["web.default"], node=None)
    assert field_of(refused.value) == "node"


async def test_too_many_names_fetched(kernel: XdsKernel) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await fetched(kernel.channel, CLUSTER, [f"n{number}.default" for number in range(MAX_NAMES + 1)])
    assert field_of(refused.value) == "resource_names"


@pytest.mark.parametrize("method", METHODS.values())
async def test_what_is_no_message(kernel: XdsKernel, method: str) -> None:
    for wire in UNREADABLE:
        assert await refusal(kernel, method, wire) is INVALID
    assert await refusal(kernel, method, oversized_message()) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await kernel.status()).version


async def refusal(kernel: XdsKernel, method: str, wire: bytes) -> grpc.StatusCode:
    """How a call with a message as it is on the wire ends."""
    channel: Any = kernel.channel
    try:
        if "/Fetch" in method:
            await channel.unary_unary(f"/envoy.service.{method}")(wire, timeout=PATIENCE)
        else:
            stream = channel.stream_stream(f"/envoy.service.{method}")(timeout=PATIENCE)
            await stream.write(wire)
            while await stream.read() is not aio.EOF:
                pass
    except aio.AioRpcError as error:
        return error.code()
    raise AssertionError("was not refused")


@both
async def test_one_stream_that_ends_by_its_fault_ends_no_other(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as good:
        await good.get(ENDPOINTS, name)
        for _ in range(20):
            async with kernel.client(mode) as bad:
                await bad.subscribe(ENDPOINTS, name)
                await bad.read()
                await bad.send()
                assert await refused_field(bad) == "type_url"
        await kernel.add(name, "e2")
        assert set((await good.told(ENDPOINTS)).resources) == {name}
        await good.quiet()
