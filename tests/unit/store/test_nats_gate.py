from __future__ import annotations

import asyncio

import pytest

from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.nats_errors import Lost, unavailable
from sira_grpc.store.nats_gate import WAITING_BYTES, Gate


async def _done() -> int:
    return 1


async def _lost() -> int:
    raise unavailable("no answer", sent=True)


async def test_a_write_that_ran_out_of_time_shuts_the_gate_until_one_goes_through() -> None:
    gate = Gate(1.0)
    assert await gate.run(1, _done) == 1
    probed: list[int] = []

    async def probe() -> None:
        probed.append(1)
        if len(probed) < 2:
            raise Lost("still", sent=True)

    with pytest.raises(StoreUnavailable, match="no answer"):
        await gate.run(1, _lost)
    with pytest.raises(StoreUnavailable, match="no writes now") as refused:
        await gate.run(1, _done)
    assert refused.value.metadata["outcome"] == "none"
    probes = asyncio.create_task(gate.run_probes(probe))
    while not gate.writable:
        await asyncio.wait([probes], timeout=0.01)
    assert len(probed) == 2
    assert await gate.run(1, _done) == 1
    probes.cancel()
    await asyncio.wait([probes])


async def test_what_is_lost_alone_shuts_nothing_that_works() -> None:
    whole = Gate(1.0)
    part = Gate(1.0, behind=whole)
    with pytest.raises(StoreUnavailable):
        await part.run(1, _lost)
    assert await part.run(1, _done) == 1
    assert await whole.run(1, _done) == 1
    whole.shut()
    with pytest.raises(StoreUnavailable, match="no writes now"):
        await part.run(1, _done)


async def test_who_finds_no_room_in_time_is_told() -> None:
    gate = Gate(0.05)
    going = asyncio.Event()

    async def slow() -> int:
        await going.wait()
        return 1

    first = asyncio.create_task(gate.run(WAITING_BYTES, slow))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="too many writes"):
        await gate.run(1, _done)
    going.set()
    assert await first == 1


async def test_closing_waits_for_what_is_under_way() -> None:
    gate = Gate(1.0)
    going = asyncio.Event()

    async def slow() -> int:
        await going.wait()
        return 1

    write = asyncio.create_task(gate.run(1, slow))
    await asyncio.sleep(0)
    closing = asyncio.create_task(gate.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await gate.run(1, _done)
    assert not closing.done()
    going.set()
    await closing
    assert await write == 1
