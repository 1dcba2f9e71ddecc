from __future__ import annotations

import asyncio
import random

import pytest
from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter
from sira.bus.v1.record_pb2 import Attributes, Record

from sira_grpc.bus import dead_letter_log, names
from sira_grpc.bus import dead_letters as module
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.errors import DeadLetterNotFound, InvalidPageToken, StoreUnavailable
from sira_grpc.pages import encode_token
from sira_grpc.store import LogRange
from sira_grpc.times import timestamp
from tests.unit.bus.dead_letter_world import (
    EVERYTHING,
    LOG,
    MAX_DELIVERIES,
    NAME,
    TERMINATED,
    UID,
    TouchyLogs,
    ids,
    opened,
    record,
)

DEAD = names.dead_of(UID)
REMOVED = names.dead_removed_of(UID)
OTHER_LOG = names.log_of("t0p1c00000000000", 1)


async def test_they_are_taken_in_order_and_found(letters: DeadLetters) -> None:
    assert (letters.count, letters.next) == (0, 0)
    assert await letters.append([record(7), record(8)]) == 0
    assert await letters.append([record(9)]) == 2
    assert (letters.count, letters.next) == (3, 3)
    letter = await letters.get(1)
    assert letter.name == f"{NAME}/deadLetters/1"
    assert (letter.record.payload, letter.record.key, letter.record.id) == (b"payload 8", b"key-8", "id-8")
    assert (letter.offset, letter.topic, letter.reason) == (8, "orders", TERMINATED)


async def test_they_outlive_the_kernel_and_stay_removed(letters: DeadLetters, logs: TouchyLogs) -> None:
    await letters.append([record(n) for n in range(5)])
    await letters.remove([1, 3])
    await letters.close()
    again = await opened(logs)
    assert (again.count, again.next) == (3, 5)
    assert await ids(again) == [0, 2, 4]
    assert await again.append([record(5)]) == 5


async def test_what_comes_while_others_are_written_is_written_together(letters: DeadLetters, logs: TouchyLogs) -> None:
    logs.shut()
    first = asyncio.create_task(letters.append([record(0)]))
    await logs.arrived()
    others = [asyncio.create_task(letters.append([record(n), record(n)])) for n in range(1, 10)]
    await asyncio.sleep(0)
    assert letters.next == 0, "none is there before it is durable"
    logs.open()
    assert await first == 0
    assert await asyncio.gather(*others) == list(range(1, 19, 2))
    assert logs.appended == [(DEAD, 1), (DEAD, 18)]
    assert await ids(letters) == list(range(19))


async def test_many_are_written_in_parts(letters: DeadLetters, logs: TouchyLogs) -> None:
    many = [record(n) for n in range(2500)]
    logs.shut()
    one = asyncio.create_task(letters.append(many))
    await logs.arrived()
    other = asyncio.create_task(letters.append(many[:3]))
    logs.open()
    assert (await one, await other) == (0, 2500)
    assert [count for _, count in logs.appended] == [1000, 1000, 500, 3]
    assert letters.count == 2503


async def test_large_ones_are_written_in_parts(letters: DeadLetters, logs: TouchyLogs) -> None:
    large = [record(n, message=Record(payload=bytes(1 << 20))) for n in range(9)]
    assert await letters.append(large) == 0
    assert [count for _, count in logs.appended] == [7, 2]
    assert await ids(letters) == list(range(9))


async def test_none_are_none(letters: DeadLetters, logs: TouchyLogs) -> None:
    assert await letters.append([]) == 0
    await letters.remove([])
    assert not logs.appended


async def test_a_write_that_fails_leaves_nothing(letters: DeadLetters, logs: TouchyLogs) -> None:
    await letters.append([record(0)])
    logs.failures.append(StoreUnavailable("full"))
    with pytest.raises(StoreUnavailable, match="full"):
        await letters.append([record(1), record(2)])
    assert (letters.count, letters.next) == (1, 1)
    assert await letters.append([record(3)]) == 1
    logs.failures.append(StoreUnavailable("full"))
    with pytest.raises(StoreUnavailable, match="full"):
        await letters.remove([0])
    assert await ids(letters) == [0, 1]
    await letters.remove([0])
    assert await ids(letters) == [1]


async def test_a_caller_that_goes_away_undoes_nothing(letters: DeadLetters, logs: TouchyLogs) -> None:
    logs.shut()
    leaving = asyncio.create_task(letters.append([record(0)]))
    await logs.arrived()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    logs.open()
    assert await letters.append([record(1)]) == 1
    assert await ids(letters) == [0, 1]
    logs.shut()
    removing = asyncio.create_task(letters.remove([0]))
    await logs.arrived()
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    logs.open()
    await letters.close()
    assert await ids(await opened(logs)) == [1]


@pytest.mark.parametrize("dead", [0, 2, 10**17])
async def test_what_is_not_there_is_not_found(letters: DeadLetters, dead: int) -> None:
    await letters.append([record(0), record(1)])
    await letters.remove([0])
    with pytest.raises(DeadLetterNotFound) as error:
        await letters.get(dead)
    assert error.value.metadata == {"resource": f"{NAME}/deadLetters/{dead}"}


async def test_a_list_shows_no_payloads(letters: DeadLetters) -> None:
    attributes = Attributes(headers={"h": "1"})
    await letters.append([record(0, message=Record(key=b"k", payload=b"secret", attributes=attributes))])
    (letter,), token = await letters.list(EVERYTHING, size=0, token="")
    assert not token
    assert (letter.record.key, letter.record.attributes, letter.record.payload) == (b"k", attributes, b"")
    assert (await letters.get(0)).record.payload == b"secret"


async def test_a_list_in_pages(letters: DeadLetters) -> None:
    await letters.append([record(n) for n in range(300)])
    await letters.remove([*range(50, 60), 299])
    expected = [n for n in range(299) if not 50 <= n < 60]
    assert await ids(letters) == expected
    assert await ids(letters, size=7) == expected
    page, token = await letters.list(EVERYTHING, size=0, token="")
    assert len(page) == 100
    await letters.remove([int(letter.name.rpartition("/")[2]) for letter in page])
    rest, _ = await letters.list(EVERYTHING, size=1000, token=token)
    assert [letter.offset for letter in rest] == expected[100:], "a page that was removed does no harm"


async def test_a_list_with_a_filter(letters: DeadLetters) -> None:
    await letters.append(
        [record(n, reason=MAX_DELIVERIES if n % 3 else TERMINATED, topic=f"t{n % 2}", at=n, log=LOG) for n in range(60)]
    )
    assert await ids(letters, DeadLetterFilter(reason=TERMINATED, topic="t1"), size=2) == list(range(3, 60, 6))
    assert await ids(letters, DeadLetterFilter(key=b"key-17")) == [17]
    assert await ids(letters, DeadLetterFilter(ids=[5, 3, 3, 4, 30, 99, -1, 2**63 - 1])) == [3, 4, 5, 30]
    assert await ids(letters, DeadLetterFilter(ids=[5, 3, 4], topic="t0")) == [4]
    some = DeadLetterFilter(after=timestamp(10), before=timestamp(13))
    assert await ids(letters, some, size=1) == [10, 11, 12]


async def test_a_token_of_something_else_is_refused(letters: DeadLetters) -> None:
    await letters.append([record(n) for n in range(3)])
    _, token = await letters.list(DeadLetterFilter(topic="orders"), size=1, token="")
    for bad in (token, "abc", encode_token("0", "another query")):
        with pytest.raises(InvalidPageToken):
            await letters.list(EVERYTHING, size=1, token=bad)
    for crafted in ("x", "-1", "1.5", "٣"):
        with pytest.raises(InvalidPageToken):
            await letters.list(EVERYTHING, size=1, token=encode_token(crafted, f"{NAME} "))
    assert await letters.list(EVERYTHING, size=1, token=encode_token("9" * 500, f"{NAME} ")) == ([], "")


async def test_a_page_takes_little_work(letters: DeadLetters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_LETTERS", 50)
    monkeypatch.setattr(dead_letter_log, "READ_LETTERS", 10)
    await letters.append([record(n) for n in range(200)])
    rare = DeadLetterFilter(key=b"key-120")
    pages: list[list[int]] = []
    token = ""
    while not pages or token:
        page, token = await letters.list(rare, size=0, token=token)
        pages.append([letter.offset for letter in page])
    assert pages == [[], [], [120], [], []]
    monkeypatch.setattr(module, "PAGE_READ_BYTES", 1)
    page, token = await letters.list(EVERYTHING, size=0, token="")
    assert len(page) == 10
    assert token


async def test_a_page_is_small_enough_to_be_sent(letters: DeadLetters) -> None:
    attributes = Attributes(headers={f"h{n}": "x" * 4000 for n in range(15)})
    await letters.append([record(n, message=Record(attributes=attributes)) for n in range(40)])
    page, token = await letters.list(EVERYTHING, size=1000, token="")
    assert 15 < len(page) < 20
    assert token
    assert await ids(letters, size=1000) == list(range(40))


async def test_buried_records_of_a_partition(letters: DeadLetters) -> None:
    assert await letters.buried(LOG, 0) == []
    await letters.append([record(10 + n, log=OTHER_LOG if n % 2 else LOG) for n in range(6)])
    await letters.remove([0, 1])
    assert await letters.buried(LOG, 0) == [(0, 10), (2, 12), (4, 14)], "removed ones too"
    assert await letters.buried(OTHER_LOG, 2) == [(3, 13), (5, 15)]
    await letters.append([record(20), record(21, log="bus/another/0/log")])
    assert await letters.buried(LOG, 5) == [(6, 20)]
    assert await letters.buried(LOG, 0) == [(0, 10), (2, 12), (4, 14), (6, 20)]
    assert await letters.buried("bus/another/0/log", 0) == [(7, 21)]
    assert await letters.buried("bus/unknown/0/log", 0) == []


async def test_one_scan_finds_the_buried_records_of_all_partitions(letters: DeadLetters, logs: TouchyLogs) -> None:
    await letters.append([record(n, log=names.log_of("t", n % 5)) for n in range(1000)])
    again = await opened(logs)
    found = await asyncio.gather(*(again.buried(names.log_of("t", p), 500 - 100 * p) for p in range(5)))
    assert found == [[(n, n) for n in range(500 - 100 * p + p, 1000, 5)] for p in range(5)]
    logs.damaged = {(DEAD, n) for n in range(1000)}
    assert await again.buried(names.log_of("t", 4), 100) == found[4], "nothing is read twice"


async def test_space_is_given_back_from_the_head_once_all_have_noted_it(letters: DeadLetters, logs: TouchyLogs) -> None:
    await letters.append([record(n) for n in range(10)])
    await letters.remove([0, 1, 2, 4])
    assert await logs.range(DEAD) == LogRange(0, 10), "a partition may have to know"
    letters.settled_through = 2
    await letters.trim()
    assert await logs.range(DEAD) == LogRange(2, 10)
    assert await letters.buried(LOG, 0) == [(n, n) for n in range(2, 10)]
    letters.settled_through = 10
    await letters.remove([9])
    assert await logs.range(DEAD) == LogRange(3, 10)
    assert (await ids(letters), letters.count) == ([3, 5, 6, 7, 8], 5)
    await letters.remove([3, 5, 6, 7, 8])
    assert await logs.range(DEAD) == LogRange(10, 10)
    assert (letters.count, await letters.buried(LOG, 0)) == (0, [])
    again = await opened(logs)
    assert (again.count, again.next) == (0, 10)
    assert await again.append([record(10)]) == 10
    with pytest.raises(DeadLetterNotFound):
        await again.get(9)


async def test_a_trim_that_fails_harms_no_removal(letters: DeadLetters, logs: TouchyLogs) -> None:
    await letters.append([record(n) for n in range(3)])
    await letters.remove([0])
    letters.settled_through = 3
    logs.failures.append(StoreUnavailable("full"))
    await letters.trim()
    assert await logs.range(DEAD) == LogRange(0, 3)
    assert await ids(letters) == [1, 2]
    await letters.trim()
    assert await logs.range(DEAD) == LogRange(1, 3)


async def test_once_closed_nothing_is_written(letters: DeadLetters, logs: TouchyLogs) -> None:
    logs.shut()
    last = asyncio.create_task(letters.append([record(0)]))
    await logs.arrived()
    closing = asyncio.create_task(letters.close())
    await asyncio.sleep(0)
    assert letters.closing
    assert not closing.done()
    logs.open()
    await closing
    assert await last == 0
    with pytest.raises(StoreUnavailable):
        await letters.append([record(1)])
    with pytest.raises(StoreUnavailable):
        await letters.remove([0])
    assert logs.appended == [(DEAD, 1)]


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_done_it_is_what_a_dictionary_would_be(logs: TouchyLogs, seed: int) -> None:
    rng = random.Random(seed)
    letters = await opened(logs)
    held: dict[int, int] = {}
    offset = settled = 0
    for _ in range(150):
        match rng.randrange(6):
            case 0 | 1:
                some = range(offset, offset + rng.randint(1, 9))
                first = await letters.append([record(n) for n in some])
                held |= {first + n - offset: n for n in some}
                offset = some.stop
            case 2 | 3:
                gone = rng.sample(sorted(held), rng.randint(0, min(9, len(held))))
                await letters.remove(gone)
                for dead in gone:
                    del held[dead]
            case 4:
                settled = letters.settled_through = rng.randint(settled, letters.next)
                await letters.trim()
            case 5:
                await letters.close()
                letters = await opened(logs)
                letters.settled_through = settled
        assert (letters.count, letters.next) == (len(held), offset)
        first, end = rng.randint(0, offset), rng.randint(0, offset)
        wanted = DeadLetterFilter(ids=range(first, end))
        assert await ids(letters, wanted) == [n for n in sorted(held) if first <= n < end or first >= end]
        buried = await letters.buried(LOG, first)
        assert {dead for dead, _ in buried} >= {n for n in range(first, offset) if n >= settled or n in held}
    assert await ids(letters, size=9) == sorted(held)
