"""Which records are replayed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sira.bus.v1.topic_pb2 import PartitionStatus

from sira_grpc.cli.bus.positions import Offset, Position
from sira_grpc.cli.bus.spans import Spans
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
HELD = [
    PartitionStatus(partition=0, first_offset=5, next_offset=10),
    PartitionStatus(partition=1, first_offset=0, next_offset=3),
    PartitionStatus(partition=2, first_offset=4, next_offset=4),
]


def spans(start: Position, end: Position = "latest") -> Spans:
    return Spans("orders", HELD, start, end)


def taken(chosen: Spans, time: datetime = NOW) -> list[tuple[int, int]]:
    """What is taken of everything that the partitions hold, and of three records each that come later."""
    places = [(each.partition, offset) for each in HELD for offset in range(each.first_offset, each.next_offset + 3)]
    return [place for place in places if chosen.take(*place, time)]


def test_everything_that_is_there_now_and_nothing_later() -> None:
    chosen = spans("earliest")
    assert chosen.tail_start == {("orders", 0): 5, ("orders", 1): 0}
    assert taken(chosen) == [(0, offset) for offset in range(5, 10)] + [(1, offset) for offset in range(3)]
    assert not chosen.left
    assert chosen.missing() == []


def test_an_offset_means_its_partition_alone() -> None:
    chosen = spans(Offset("", 0, 8), Offset("orders", 0, 9))
    assert chosen.tail_start == {("orders", 0): 8}
    assert not chosen.take(0, 7, NOW) or chosen.left
    assert taken(spans(Offset("", 1, 2))) == [(1, 0), (1, 1), (1, 2)]
    assert spans(Offset("", 1, 2)).tail_start == {("orders", 1): 2}


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("latest", "latest"),
        ("earliest", "earliest"),
        (Offset("", 0, 10), "latest"),
        (Offset("", 0, 9), Offset("", 0, 9)),
        (Offset("", 2, 0), "latest"),
    ],
)
def test_nothing_is_left_where_there_is_nothing(start: Position, end: Position) -> None:
    assert not spans(start, end).left


def test_a_time_ends_it_too() -> None:
    chosen = spans("earliest", NOW)
    assert chosen.take(0, 5, NOW - timedelta(seconds=1))
    assert not chosen.take(0, 6, NOW)
    assert not chosen.take(0, 7, NOW - timedelta(seconds=1))
    assert taken(chosen, NOW) == []
    assert not chosen.left


def test_from_a_time_on_nobody_knows_what_there_should_be() -> None:
    chosen = spans(NOW)
    assert chosen.tail_start == NOW
    assert chosen.left
    assert chosen.missing() == []


def test_what_has_not_come_is_told() -> None:
    chosen = spans("earliest")
    chosen.take(0, 7, NOW)
    assert chosen.missing() == ["orders/0@8 and what follows it before 10", "orders/1@0 and what follows it before 3"]


@pytest.mark.parametrize(
    ("start", "end", "complaint"),
    [
        (Offset("", 0, 1), Offset("", 1, 1), "must be offsets of the same partition"),
        (Offset("", 3, 1), "latest", "orders has 3 partitions"),
        (Offset("other", 0, 1), "latest", "'other' is not the topic"),
    ],
)
def test_offsets_that_make_no_sense(start: Position, end: Position, complaint: str) -> None:
    with pytest.raises(Failure, match=complaint) as refused:
        spans(start, end)
    assert refused.value.code is ExitCode.USAGE
