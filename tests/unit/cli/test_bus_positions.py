"""Places in topics as people write them, and as the kernel takes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sira.bus.v1.subscription_pb2 import PartitionOffset, StartPosition

from sira_grpc.cli.bus import positions
from sira_grpc.cli.bus.positions import Offset, Position
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("-10m", NOW - timedelta(minutes=10)),
        ("2026-01-31T10:00:00Z", NOW),
        ("orders.eu/3@17", Offset("orders.eu", 3, 17)),
        ("namespaces/shop/topics/orders.eu/3@17", Offset("orders.eu", 3, 17)),
        ("3@17", Offset("", 3, 17)),
    ],
)
def test_reads(text: str, position: Position) -> None:
    assert positions.parse(text, "--from", NOW) == position


@pytest.mark.parametrize("text", ["", "17", "first", "a@1", "orders/x@1", "/0@1", "1@-1"])
def test_refuses_and_names_the_option(text: str) -> None:
    with pytest.raises(Failure, match=r"^--from: .* is none of earliest, latest, a time") as refused:
        positions.parse(text, "--from", NOW)
    assert refused.value.code is ExitCode.USAGE


def test_the_kernel_is_told() -> None:
    assert positions.message("earliest", "x") == StartPosition(earliest=StartPosition.Earliest())
    assert positions.message("latest", "x") == StartPosition(latest=StartPosition.Latest())
    assert positions.message(NOW, "x").time.ToDatetime(UTC) == NOW
    place = PartitionOffset(topic="orders", partition=3, offset=17)
    assert positions.message(Offset("orders", 3, 17), "x") == StartPosition(offset=place)


def test_the_kernel_has_to_be_told_the_topic() -> None:
    with pytest.raises(Failure, match=r"^POSITION: '3@17' must name the topic too, such as orders/3@17$"):
        positions.message(Offset("", 3, 17), "POSITION")
