"""The log of what a subscription has settled in a partition."""

from __future__ import annotations

from pathlib import Path

from sira_grpc.bus.settlements import Settlements
from sira_grpc.bus.spans import Spans
from sira_grpc.store import LogRange, open_sqlite
from tests.clocks import FakeClock

LOG = "bus/s/t/0"


async def test_what_is_noted_after_the_end_does_not_bring_a_deleted_log_back(tmp_path: Path, clock: FakeClock) -> None:
    store = await open_sqlite(tmp_path, clock=clock)
    settlements = Settlements(store, LOG, clock, lambda: (Spans(), ()))
    noted = settlements.note([(0, 3)])
    await settlements.close()
    assert noted.done()
    assert await store.range(LOG) == LogRange(0, 1)
    await store.delete_partition(LOG)
    await settlements.note([(3, 4)])
    await settlements.close()
    assert await store.range(LOG) == LogRange(0, 0)
    await store.close()
