from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.errors import RevisionAhead, RevisionCompacted
from sira_grpc.watch import ChangeFeed, check_start


def test_since_names_what_changed_after_a_revision_once() -> None:
    feed = ChangeFeed(compacted=0, revision=0)
    for revision, item in enumerate(["a", "b", "a", "c"], start=1):
        feed.touch(item, revision)
    assert list(feed.since(1)) == ["c", "a", "b"]
    assert list(feed.since(3)) == ["c"]
    assert list(feed.since(4)) == []


def test_a_reader_behind_a_forgotten_tombstone_is_told() -> None:
    feed = ChangeFeed(compacted=0, revision=0, tombstones=1)
    feed.bury("a", 1)
    feed.bury("b", 2)
    assert feed.compacted == 1
    assert list(feed.since(1)) == ["b"]
    with pytest.raises(RevisionCompacted) as error:
        list(feed.since(0))
    assert error.value.metadata == {"compacted": "1"}


def test_an_item_that_came_back_is_no_tombstone() -> None:
    feed = ChangeFeed(compacted=0, revision=0, tombstones=1)
    feed.bury("a", 1)
    feed.touch("a", 2)
    feed.bury("b", 3)
    assert feed.compacted == 0
    assert list(feed.since(0)) == ["b", "a"]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=60), st.integers(0, 5))
def test_a_reader_that_resumes_anywhere_ends_with_what_is_there(changes: list[tuple[str, bool]], limit: int) -> None:
    feed = ChangeFeed(compacted=0, revision=0, tombstones=limit)
    present: dict[int, set[str]] = {0: set()}
    for revision, (item, dead) in enumerate(changes, start=1):
        (feed.bury if dead else feed.touch)(item, revision)
        present[revision] = present[revision - 1] - {item} if dead else present[revision - 1] | {item}
    final = present[len(changes)]
    for start, known in present.items():
        if start < feed.compacted:
            continue
        seen = set(known)
        for item in feed.since(start):
            (seen.add if item in final else seen.discard)(item)
        assert seen == final


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=30), st.randoms())
def test_settling_restores_the_order_of_revisions(items: list[str], random: object) -> None:
    ordered = ChangeFeed(compacted=0, revision=0)
    last = {item: revision for revision, item in enumerate(items, start=1)}
    for item, revision in sorted(last.items(), key=lambda pair: pair[1]):
        ordered.touch(item, revision)
    shuffled = ChangeFeed(compacted=0, revision=0)
    for item, revision in sorted(last.items()):
        shuffled.touch(item, revision)
    shuffled.settle()
    assert list(shuffled.since(0)) == list(ordered.since(0))


async def test_publish_wakes_who_waits_and_not_who_has_something_to_read() -> None:
    feed = ChangeFeed(compacted=0, revision=1)
    current, behind = feed.subscribe(1), feed.subscribe(0)
    await behind.wait()
    waiting = asyncio.ensure_future(current.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    feed.touch("a", 2)
    feed.publish(5.0)
    await waiting
    assert feed.published_at == 5.0
    assert feed.behind() == 2


async def test_closing_a_feed_wakes_everybody() -> None:
    feed = ChangeFeed(compacted=0, revision=1)
    waiting = asyncio.ensure_future(feed.subscribe(1).wait())
    await asyncio.sleep(0)
    feed.close()
    await waiting
    assert feed.closed


async def test_a_barrier_opens_when_the_last_subscriber_has_passed_or_left() -> None:
    feed = ChangeFeed(compacted=0, revision=0)
    quick, slow, leaver, late = (feed.subscribe(0) for _ in range(4))
    feed.touch("a", 1)
    quick.sent(1)
    barrier = feed.barrier(1)
    newcomer = feed.subscribe(0)
    assert (barrier.notified, barrier.pending) == (1, 3)
    slow.sent(1)
    leaver.close()
    assert not barrier.opened.is_set()
    late.sent(1)
    assert barrier.opened.is_set()
    assert (barrier.notified, barrier.pending) == (3, 0)
    newcomer.close()
    assert feed.subscribers == 3


async def test_a_barrier_that_nobody_is_behind_is_open() -> None:
    feed = ChangeFeed(compacted=0, revision=0)
    feed.subscribe(1)
    barrier = feed.barrier(1)
    assert barrier.opened.is_set()
    assert barrier.notified == 1


async def test_a_dropped_barrier_is_not_kept() -> None:
    feed = ChangeFeed(compacted=0, revision=0)
    subscriber = feed.subscribe(0)
    barrier = feed.barrier(1)
    feed.drop(barrier)
    feed.drop(barrier)
    subscriber.sent(1)
    assert barrier.pending == 1


def test_a_start_ahead_of_the_store_is_refused() -> None:
    check_start(5, 5)
    with pytest.raises(RevisionAhead):
        check_start(6, 5)
