"""The cluster's members, lag and store as metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from sira_grpc.cluster.forgetting import DUTY
from sira_grpc.cluster.gauges import expose
from sira_grpc.telemetry import Telemetry
from tests.unit.cluster.cluster_world import World


class Readings:
    """Stands where the exporters do: keeps what each gauge is read by."""

    def __init__(self) -> None:
        self.gauges: dict[str, Callable[[], object]] = {}

    def gauge(self, name: str, read: Callable[[], object], *, unit: str = "1", description: str) -> None:
        assert unit
        assert description.endswith((".", "0"))
        self.gauges[name.removeprefix("sira.cluster.")] = read

    def read(self) -> dict[str, object]:
        return {name: read() for name, read in self.gauges.items()}


def members(live: int, stopping: int, dead: int) -> list[tuple[int, dict[str, str]]]:
    return [(live, {"state": "live"}), (stopping, {"state": "stopping"}), (dead, {"state": "dead"})]


async def test_what_is_read(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    readings = Readings()
    expose(a.cluster, cast(Telemetry, readings))
    await world.beats(a, b)
    for node in (a, b):
        await node.cluster.duties.tend()
    await world.settle()
    assert a.cluster.duties.holds(DUTY) is not b.cluster.duties.holds(DUTY)
    held = int(a.cluster.duties.holds(DUTY))
    assert readings.read() == {"members": members(2, 0, 0), "view.lag": 0, "store.available": True, "duties": held}
    c = await world.start("c")
    await c.cluster.leave()
    await world.beats(a, rounds=5)
    a.link.cut = True
    a.cluster.store_watch.look()
    assert readings.read()["members"] == members(1, 0, 2)
    assert not readings.read()["store.available"]
