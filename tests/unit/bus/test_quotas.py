from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.bus.v1.topic_pb2 import Topic, TopicLimits

from sira_grpc.bus import quotas as module
from sira_grpc.bus.quotas import Quotas
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.bus.view import TopicEntry
from sira_grpc.config import BusConfig
from sira_grpc.errors import LimitExceeded
from tests.clocks import FakeClock

ORDERS = "namespaces/default/topics/orders"


def topic(uid: str = "a", *, records: int = 0, size: int = 0) -> TopicEntry:
    message = Topic(name=ORDERS, limits=TopicLimits(records_per_second=records, bytes_per_second=size))
    return TopicEntry(message, uid, 1, TopicSettings.of(message))


def quotas(clock: FakeClock, *, records: int = 0, size: int = 0) -> Quotas:
    return Quotas(BusConfig(records_per_second_per_publisher=records, bytes_per_second_per_publisher=size), clock)


def refused(made: Quotas, entry: TopicEntry, records: int, size: int = 0, *, publisher: str = "p") -> LimitExceeded:
    with pytest.raises(LimitExceeded) as error:
        made.check(publisher, entry, records, size)
    return error.value


def test_without_quotas_everything_goes_and_nothing_is_kept(clock: FakeClock) -> None:
    made, entry = quotas(clock), topic()
    for _ in range(100):
        assert made.take("p", entry, 10_000, 1 << 30) == 0
        made.check("p", entry, 10_000, 1 << 30)
    assert not made._full_at


@pytest.mark.parametrize(
    ("config", "entry", "records", "size"),
    [
        ({"records": 100}, topic(), 50, 0),
        ({"size": 100}, topic(), 0, 50),
        ({}, topic(records=100), 50, 0),
        ({}, topic(size=100), 0, 50),
        ({"records": 1_000_000, "size": 1_000_000}, topic(size=100, records=1000), 1, 50),
    ],
)
def test_a_stream_is_slowed_to_its_quota(
    clock: FakeClock, config: dict[str, int], entry: TopicEntry, records: int, size: int
) -> None:
    made = quotas(clock, **config)
    waits = []
    for _ in range(6):
        waits.append(made.take("p", entry, records, size))
        clock.advance(waits[-1])
    assert waits == [0, 0, 0.5, 0.5, 0.5, 0.5], "a second's worth at once, then two a second"
    clock.advance(1.5)
    assert [made.take("p", entry, records, size) for _ in range(3)] == [0, 0, 0.5], "and again after a pause"


def test_a_stream_that_does_not_wait_owes_it(clock: FakeClock) -> None:
    made, entry = quotas(clock, records=10), topic()
    assert [made.take("p", entry, 10, 0) for _ in range(4)] == [0, 1, 2, 3]


def test_a_frame_larger_than_a_seconds_worth_passes_and_is_paid_for(clock: FakeClock) -> None:
    made, entry = quotas(clock, records=100), topic()
    assert made.take("p", entry, 1000, 0) == 9
    clock.advance(9)
    assert made.take("p", entry, 100, 0) == 1


@pytest.mark.parametrize(
    ("config", "entry", "records", "size", "limit", "resource"),
    [
        ({"records": 4}, topic(), 1, 0, "bus.records_per_second_per_publisher", None),
        ({"size": 4}, topic(), 0, 1, "bus.bytes_per_second_per_publisher", None),
        ({}, topic(records=4), 1, 0, "topic.limits.records_per_second", ORDERS),
        ({}, topic(size=4), 0, 1, "topic.limits.bytes_per_second", ORDERS),
    ],
)
def test_a_unary_call_is_refused_beyond_its_quota(
    clock: FakeClock,
    config: dict[str, int],
    entry: TopicEntry,
    records: int,
    size: int,
    limit: str,
    resource: str | None,
) -> None:
    made = quotas(clock, **config)
    for _ in range(4):
        made.check("p", entry, records, size)
    for _ in range(3):
        error = refused(made, entry, records, size)
        assert error.retry_after == 0.25, "what is refused counts for nothing"
    assert error.metadata == {"limit": limit, "value": "4", "caller": "p"} | (
        {"resource": resource} if resource else {}
    )
    assert limit in error.message
    assert (resource or "") in error.message
    clock.advance(0.25)
    made.check("p", entry, records, size)
    refused(made, entry, records, size)


def test_a_refused_call_counts_in_no_quota(clock: FakeClock) -> None:
    made, entry = quotas(clock, records=10), topic(size=100)
    made.check("p", entry, 1, 100)
    refused(made, entry, 9, 100)
    made.check("p", topic("b"), 9, 100)


def test_a_call_larger_than_a_seconds_worth_passes_after_a_pause(clock: FakeClock) -> None:
    made, entry = quotas(clock, records=4), topic()
    made.check("p", entry, 1, 0)
    assert refused(made, entry, 40).retry_after == 0.25
    clock.advance(0.25)
    made.check("p", entry, 40, 0)
    assert refused(made, entry, 1).retry_after == 9.25
    clock.advance(9.25)
    made.check("p", entry, 1, 0)


def test_a_call_is_refused_while_a_stream_of_the_same_publisher_owes(clock: FakeClock) -> None:
    made, entry = quotas(clock, records=4), topic()
    assert made.take("p", entry, 12, 0) == 2
    assert refused(made, entry, 4).retry_after == 3


def test_publishers_and_topics_have_quotas_of_their_own(clock: FakeClock) -> None:
    made, one, other = quotas(clock), topic("a", records=10), topic("b", records=10)
    made.check("p", one, 10, 0)
    made.check("p", other, 10, 0)
    made.check("q", one, 10, 0)
    refused(made, one, 1)
    refused(made, other, 1)
    refused(made, one, 1, publisher="q")


def test_a_publishers_own_quota_is_for_all_topics(clock: FakeClock) -> None:
    made = quotas(clock, records=10)
    made.check("p", topic("a"), 5, 0)
    made.check("p", topic("b"), 5, 0)
    refused(made, topic("c"), 1)
    made.check("q", topic("c"), 10, 0)


def test_a_quota_may_be_changed(clock: FakeClock) -> None:
    made = quotas(clock)
    assert made.take("p", topic(records=10), 30, 0) == 2
    clock.advance(2.5)
    assert made.take("p", topic(records=1000), 500, 0) == 0
    assert made.take("p", topic(records=1000), 500, 0) == 0.5
    assert made.take("p", topic(), 10_000, 0) == 0


def test_what_has_been_quiet_is_forgotten(clock: FakeClock) -> None:
    made, entry = quotas(clock, records=100), topic(records=100)
    for n in range(1000):
        made.take(f"p{n}", entry, 1, 0)
        clock.advance(0.125)
    assert len(made._full_at) <= 2


def test_memory_is_bounded(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 10)
    made, entry = quotas(clock), topic(records=10)
    for n in range(100):
        made.take(f"p{n}", entry, 1000, 0)
    assert [publisher for publisher, _ in made._full_at] == [f"p{n}" for n in range(90, 100)]
    made.take("p90", entry, 1, 0)
    made.take("q", entry, 1000, 0)
    refused(made, entry, 1, publisher="p90")
    assert ("p91", entry.uid) not in made._full_at, "those go that were heard of the longest ago"


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 64)), max_size=60), st.booleans())
def test_no_publisher_sends_more_than_its_quota(steps: list[tuple[int, int]], streams: bool) -> None:
    clock = FakeClock()
    made, entry, rate = quotas(clock, records=32), topic(), 32
    send: Callable[[int], bool] = _streamed(made, entry, clock) if streams else _called(made, entry)
    start, total = clock.monotonic(), 0
    for records, pause in steps:
        clock.advance(pause / 32)
        before = clock.monotonic()
        if send(records):
            total += records
            allowed = rate * (clock.monotonic() - start) + rate
            assert total <= allowed + (0 if streams else max(0, records - rate)) + 1e-6
        assert streams or before == clock.monotonic()


def _streamed(made: Quotas, entry: TopicEntry, clock: FakeClock) -> Callable[[int], bool]:
    def send(records: int) -> bool:
        clock.advance(made.take("p", entry, records, 0))
        return True

    return send


def _called(made: Quotas, entry: TopicEntry) -> Callable[[int], bool]:
    def send(records: int) -> bool:
        try:
            made.check("p", entry, records, 0)
        except LimitExceeded:
            return False
        return True

    return send
