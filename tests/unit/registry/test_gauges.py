from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from sira.registry.v1.resolver_service_pb2 import WatchRequest

from sira_grpc.registry.gauges import expose
from sira_grpc.store import StateStore
from sira_grpc.telemetry import Telemetry
from tests.unit.registry.world import SERVICE, World, endpoint


class Readings:
    """Stands where the exporters do: keeps what each gauge is read by."""

    def __init__(self) -> None:
        self.gauges: dict[str, Callable[[], float]] = {}

    def gauge(self, name: str, read: Callable[[], float], *, unit: str, description: str) -> None:
        assert unit
        assert description.endswith(".")
        self.gauges[name.removeprefix("sira.registry.")] = read

    def read(self) -> dict[str, float]:
        return {name: read() for name, read in self.gauges.items()}


@pytest.fixture
def readings(world: World) -> Readings:
    made = Readings()
    expose(world.registry, cast(StateStore, world.store), cast(Telemetry, made), world.clock)
    return made


async def test_sizes(world: World, readings: Readings) -> None:
    await world.register(endpoint("a"), endpoint("b", check="ttl"))
    lost = await world.register(endpoint("c"))
    world.registry.keeper.lost(await world.registry.keeper.attach(lost, actor=""), actor="")
    await world.settled()
    assert readings.read() == {
        "namespaces": 1,
        "services": 1,
        "endpoints": 3,
        "endpoints.healthy": 1,
        "leases": 2,
        "leases.suspect": 1,
        "watchers": 0,
        "expiry.paused": 0,
        "view.lag": 0,
        "watch.behind": 0,
        "watch.lag": 0,
    }


async def test_how_far_readers_are_behind(world: World, readings: Readings) -> None:
    await world.register(endpoint("a"))
    streams = [world.registry.watching.follow(WatchRequest(service=SERVICE)) for _ in range(2)]
    for stream in streams:
        await anext(stream)
    await world.register(endpoint("b"))
    world.clock.advance(3)
    assert {n: v for n, v in readings.read().items() if n.startswith("watch")} == {
        "watchers": 2,
        "watch.behind": 2,
        "watch.lag": 3,
    }
    for stream in streams:
        await stream.aclose()
    assert readings.read()["watch.lag"] == 0
