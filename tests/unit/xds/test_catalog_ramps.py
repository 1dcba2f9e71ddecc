from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.traffic_policy_pb2 import SlowStart

from sira_grpc.background import Background
from sira_grpc.xds.catalog import Catalog
from sira_grpc.xds.names import xdstp
from sira_grpc.xds.recent import Recent
from sira_grpc.xds.type_urls import ENDPOINTS
from sira_grpc.xds.world import World
from tests.clocks import FakeClock
from tests.unit.xds.mesh import endpoint
from tests.unit.xds.test_catalog import BUILDERS, NAME, Told


@pytest.fixture
def told() -> Told:
    made = Told()
    made.mesh.service()
    made.mesh.endpoint(endpoint(1))
    return made


def test_a_ramp_is_told_step_by_step(told: Told) -> None:
    told.mesh.service(slow_start=SlowStart(window=Duration(seconds=100)))
    told.mesh.endpoint(endpoint(2))
    told.catalog.tick()
    assert told.last.generation == told.get().generation
    seen = [told.get()]
    for _ in range(30):
        told.mesh.clock.advance(10)
        told.catalog.tick()
        if told.get() is not seen[-1]:
            assert told.last.names == {ENDPOINTS: {NAME, xdstp(NAME, ENDPOINTS)}}
            seen.append(told.get())
    assert 8 <= len(seen) <= 12
    changes = len(told.changes)
    told.mesh.clock.advance(1000)
    told.catalog.tick()
    assert len(told.changes) == changes


def test_what_is_made_between_a_step_and_its_tick_is_news_to_those_that_have_what_was_before(told: Told) -> None:
    told.mesh.service(slow_start=SlowStart(window=Duration(seconds=100)))
    told.mesh.clock.advance(200)
    told.mesh.endpoint(endpoint(2))
    before = told.get()
    told.catalog._resources = Recent(1 << 20)
    told.mesh.clock.advance(30)
    between = told.get()
    assert (between.version != before.version, between.generation) == (True, before.generation)
    told.catalog.tick()
    assert told.get().version == between.version
    assert told.get().generation == told.last.generation


async def test_run_ticks(told: Told) -> None:
    class Moving(FakeClock):
        """Has a step go by each time it is read, so that the wait for the next one is short."""

        def time_ns(self) -> int:
            self.advance(0.1)
            return super().time_ns()

    mesh = told.mesh
    mesh.service(slow_start=SlowStart(window=Duration(nanos=1)))
    moved = asyncio.Event()
    catalog = Catalog(World(mesh.view, Moving()), BUILDERS)
    catalog.changed.append(lambda change: moved.set())
    background = Background()
    background.own(catalog.run(), "catalog")
    await moved.wait()
    moved.clear()
    mesh.endpoint(endpoint(7))
    await moved.wait()
    await background.cancel()
    assert not background.failed.is_set()
