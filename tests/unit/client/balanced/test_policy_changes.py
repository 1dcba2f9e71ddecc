from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from sira.registry.v1.route_pb2 import Destination, Route, Split
from sira_client import BalancedChannel, Client, Endpoint
from sira_client.balanced.balancer import Balancer
from sira_client.balancing.target import Target

from tests.unit.client.balanced.echo_service import ONE, SERVICE, connected, endpoint, service, spread
from tests.unit.client.echo import Echo
from tests.unit.client.in_memory_kernel import InMemoryKernel

V1, V2 = Target(SERVICE, "v1"), Target(SERVICE, "v2")


def route(version: str) -> Route:
    return Route(splits=[Split(weight=1, destination=Destination(version=version))])


@pytest.fixture
def silent() -> Iterator[Endpoint]:
    """An endpoint of v2 that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = endpoint(Echo("d"))
        made.port, made.version = listener.getsockname()[1], "v2"
        yield made


@pytest.fixture
async def channel(client: Client, served: InMemoryKernel, echoes: list[Echo], silent: Endpoint) -> BalancedChannel:
    """a is of v1 and gets all calls; the endpoint of v2 is silent."""
    first = endpoint(echoes[0])
    first.version = "v1"
    await served.put(first, silent, service=service(routes=[route("v1")]))
    made = client.channel("echo")
    await connected(made, 3)
    assert await spread(made, 5) == {"a": 5}
    return made


def targets(channel: BalancedChannel) -> set[Target]:
    return set(channel._clusters._balancers)


async def change(channel: BalancedChannel, *expected: Target) -> None:
    """Waits until the channel knows these targets, beside the service itself."""
    async with asyncio.timeout(20):
        while targets(channel) != {Target(SERVICE), *expected}:
            await channel._selector.changed()


async def test_a_policy_waits_until_its_targets_are_connected(
    channel: BalancedChannel, served: InMemoryKernel, echoes: list[Echo], silent: Endpoint
) -> None:
    await served.put(service=service(routes=[route("v2")]))
    await change(channel, V1, V2)
    assert await spread(channel, 5) == {"a": 5}
    silent.port = echoes[1].port
    await served.remove(endpoint(echoes[1]).name)
    await served.put(silent)
    await change(channel, V2)
    assert await spread(channel, 5) == {"b": 5}


async def test_a_policy_that_is_taken_back_before_it_took_effect(
    channel: BalancedChannel, served: InMemoryKernel
) -> None:
    await served.put(service=service(routes=[route("v2")]))
    await change(channel, V1, V2)
    await served.put(service=service(routes=[route("v1")]))
    await change(channel, V1)
    assert await spread(channel, 5) == {"a": 5}


async def test_without_a_policy_nothing_is_waited_for(channel: BalancedChannel, served: InMemoryKernel) -> None:
    await served.put(service=service(routes=[route("v2")]))
    await change(channel, V1, V2)
    await served.put(service=service())
    await change(channel)
    assert set(await spread(channel)) == {"a", "b", "c"}


async def test_calls_that_look_for_an_endpoint_keep_their_target_open(
    client: Client,
    served: InMemoryKernel,
    echoes: list[Echo],
    silent: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await served.put(silent, service=service(routes=[route("v2")]))
    channel = client.channel("echo")
    taken, take = asyncio.Semaphore(0), channel._clusters.take

    def tell(target: Target) -> Balancer:
        taken.release()
        return take(target)

    monkeypatch.setattr(channel._clusters, "take", tell)
    waiting = channel.unary_unary(ONE)(b"", timeout=20)
    await change(channel, V2)
    await taken.acquire()
    await served.put(service=service())
    async with asyncio.timeout(20):
        while not channel._selector.plain:
            await channel._selector.changed()
    assert targets(channel) == {Target(SERVICE), V2}
    silent.port = echoes[2].port
    await served.put(silent)
    assert await waiting == b"c"
    assert targets(channel) == {Target(SERVICE)}
