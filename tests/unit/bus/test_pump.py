"""Writing in batches: in order, one batch at a time, whatever came meanwhile is the next."""

from __future__ import annotations

import asyncio

import pytest

from sira_grpc.bus.pump import Pump


class Writer:
    """Takes down the batches. Each is held up until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.arrived = asyncio.Event()
        self.go = asyncio.Event()
        self.under_way = 0

    async def write(self, batch: list[int]) -> None:
        self.under_way += 1
        assert self.under_way == 1
        self.batches.append(batch)
        self.arrived.set()
        await self.go.wait()
        self.under_way -= 1


async def test_what_comes_meanwhile_is_the_next_batch() -> None:
    writer = Writer()
    pump = Pump(writer.write, "test", max_items=3, max_bytes=100)
    pump.put(1, 1)
    await writer.arrived.wait()
    for number in range(2, 7):
        pump.put(number, 1)
    writer.go.set()
    await pump.idle()
    assert writer.batches == [[1], [2, 3, 4], [5, 6]]


async def test_a_batch_is_bounded_in_bytes_but_one_item_may_be_larger() -> None:
    writer = Writer()
    writer.go.set()
    pump = Pump(writer.write, "test", max_items=10, max_bytes=10)
    for number, size in enumerate((4, 6, 1, 50, 3)):
        pump.put(number, size)
    await pump.idle()
    assert writer.batches == [[0, 1], [2], [3], [4]]


async def test_it_is_idle_when_there_is_nothing() -> None:
    writer = Writer()
    pump = Pump(writer.write, "test", max_items=10, max_bytes=10)
    await pump.idle()
    writer.go.set()
    pump.put(1, 1)
    await pump.idle()
    await pump.idle()
    pump.put(2, 1)
    await pump.idle()
    assert writer.batches == [[1], [2]]


async def test_a_defect_is_logged_and_the_next_item_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    batches: list[list[int]] = []

    async def write(batch: list[int]) -> None:
        batches.append(batch)
        if len(batches) == 1:
            raise RuntimeError("a defect")

    pump = Pump(write, "the pump", max_items=1, max_bytes=10)
    pump.put(1, 1)
    pump.put(2, 1)
    await pump.idle()
    await asyncio.sleep(0)
    assert "the pump ended" in caplog.text
    pump.put(3, 1)
    await pump.idle()
    assert batches == [[1], [2], [3]]
