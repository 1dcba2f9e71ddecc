"""Which dead letters arguments and options choose."""

from __future__ import annotations

from datetime import UTC, datetime

from sira.bus.v1.dead_letter_pb2 import DeadLetterReason
from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter

from sira_grpc.cli.bus.dead_letter_filters import Reason, chosen


def test_nothing_chooses_all() -> None:
    assert chosen(None, {}) == DeadLetterFilter()


def test_everything_is_read() -> None:
    wanted = chosen(
        [3, 1],
        {
            "key": "käse",
            "header": ["a=b", "c=d=e"],
            "reason": Reason.MAX_DELIVERIES,
            "topic": "namespaces/default/topics/orders",
            "after": "2026-01-31T10:00:00Z",
            "before": "2026-02-01",
        },
    )
    assert list(wanted.ids) == [3, 1]
    assert wanted.key == "käse".encode()
    assert wanted.headers == {"a": "b", "c": "d=e"}
    assert wanted.reason == DeadLetterReason.DEAD_LETTER_REASON_MAX_DELIVERIES
    assert wanted.topic == "orders"
    assert wanted.after.ToDatetime(UTC) == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert wanted.before.ToDatetime(UTC) == datetime(2026, 2, 1, tzinfo=UTC)


def test_every_reason_can_be_named() -> None:
    numbers = {DeadLetterReason.Value(f"DEAD_LETTER_REASON_{reason.name}") for reason in Reason}
    assert numbers == {*DeadLetterReason.values()} - {DeadLetterReason.DEAD_LETTER_REASON_UNSPECIFIED}
