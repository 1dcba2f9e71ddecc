from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest
from sira.bus.v1.record_pb2 import Record

from sira_grpc.bus import names
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.errors import DeadLetterNotFound, StoreCorrupt
from sira_grpc.store import open_sqlite
from tests.clocks import FakeClock
from tests.unit.bus.dead_letter_world import (
    EVERYTHING,
    LOG,
    NAME,
    UID,
    TouchyLogs,
    ids,
    opened,
    record,
)

DEAD = names.dead_of(UID)
REMOVED = names.dead_removed_of(UID)
OTHER_LOG = names.log_of("t0p1c00000000000", 1)


async def test_damage_breaks_no_list(letters: DeadLetters, logs: TouchyLogs) -> None:
    await letters.append([record(n) for n in range(400)])
    logs.damaged = {(DEAD, n) for n in (0, 5, 6, 300, 399)}
    lost = {n for _, n in logs.damaged}
    expected = [n for n in range(400) if n not in lost]
    assert await ids(letters) == expected
    assert await ids(letters, size=30) == expected
    assert letters.damaged == 5, "each is counted once"
    assert letters.count == 400
    with pytest.raises(StoreCorrupt) as error:
        await letters.get(5)
    assert error.value.metadata == {"resource": f"{NAME}/deadLetters/5"}
    assert (await letters.get(4)).offset == 4
    assert await letters.buried(LOG, 0) == [(n, n) for n in expected], "the records of the others come again"
    await letters.remove(lost)
    assert letters.count == 395
    with pytest.raises(DeadLetterNotFound):
        await letters.get(5)


async def test_damage_among_large_ones_is_read_past_a_few_at_a_time(letters: DeadLetters, logs: TouchyLogs) -> None:
    await letters.append([record(n, message=Record(payload=bytes(400_000))) for n in range(12)])
    logs.damaged = {(DEAD, 1)}
    async with aclosing(letters.scan(EVERYTHING)) as steps:
        counts = [step.count async for step in steps]
    assert counts[0] == 4, "three that are good are more than is read at once"
    assert sum(counts) == 12


async def test_what_is_no_dead_letter_breaks_no_list(letters: DeadLetters, logs: TouchyLogs) -> None:
    broken = record(1)
    broken.dead_letter = b"\xff"
    await letters.append([record(0), broken])
    await logs.append(DEAD, [b"\xff\xff"])
    again = await opened(logs)
    await again.append([record(3)])
    assert await ids(again) == [0, 3]
    for dead in (1, 2):
        with pytest.raises(StoreCorrupt):
            await again.get(dead)
    assert await again.buried(LOG, 0) == [(0, 0), (1, 1), (3, 3)]


async def test_a_flipped_bit_on_the_disk_is_found(tmp_path: Path, clock: FakeClock) -> None:
    store = await open_sqlite(tmp_path, clock=clock)
    letters = await opened(store)
    await letters.append([record(n, message=Record(payload=b"marker-%d-" % n + bytes(500))) for n in range(20)])
    await letters.close()
    await store.close()
    path = tmp_path / "sira.db"
    content = bytearray(path.read_bytes())
    at = content.index(b"marker-7-")
    content[at + 100] ^= 4
    path.write_bytes(content)
    store = await open_sqlite(tmp_path, clock=clock)
    try:
        again = await opened(store)
        assert await ids(again) == [n for n in range(20) if n != 7]
        assert again.damaged == 1
        with pytest.raises(StoreCorrupt):
            await again.get(7)
    finally:
        await store.close()


async def test_what_it_cannot_be_known_of_that_it_was_removed_is_back(letters: DeadLetters, logs: TouchyLogs) -> None:
    await letters.append([record(n) for n in range(4)])
    await letters.remove([0])
    await letters.remove([2])
    logs.damaged = {(REMOVED, 0)}
    again = await opened(logs)
    assert await ids(again) == [0, 1, 3]
    await again.remove([1])
    assert await ids(again) == [0, 3]
