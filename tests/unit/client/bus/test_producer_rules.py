"""What breaks a rule is refused before it is sent, and nothing else with it."""

from __future__ import annotations

from datetime import datetime

import pytest
from sira_client import InvalidArgumentError
from sira_client.bus import Bus

from tests.unit.client.bus.bus_double import BusDouble


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"payload": bytes((1 << 20) + 1)}, "at most"),
        ({"payload": b"", "key": bytes(1025)}, "at most"),
        ({"payload": b"", "id": "x" * 129}, "at most"),
        ({"payload": "text"}, "bytes"),
        ({"payload": b"", "ttl": 0.0}, "ttl"),
        ({"payload": b"", "ttl": 1e9}, "ttl"),
        ({"payload": b"", "headers": {str(i): "" for i in range(65)}}, "headers"),
        ({"payload": b"", "headers": {"": "x"}}, "headers"),
        ({"payload": b"", "headers": {"a": "x" * 4097}}, "headers"),
        ({"payload": b"", "headers": {"a": "ü" * 2049}}, "headers"),
        ({"payload": b"", "event_time": datetime(2026, 1, 1)}, "time zone"),
        ({"payload": b"", "deliver_at": datetime(2026, 1, 1)}, "time zone"),
    ],
)
async def test_a_record_that_breaks_a_rule_is_refused_at_once(
    double: BusDouble, bus: Bus, fields: dict[str, object], said: str
) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders") as producer:
        with pytest.raises(ValueError, match=said):
            await producer.send(**fields)  # type: ignore[arg-type]  # that is what is tested
        await producer.send(b"fine")
    assert partition.payloads() == [b"fine"]


async def test_the_limit_of_the_topic_counts(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders", limits={"max_record_bytes": 10})
    async with bus.producer("orders") as producer:
        with pytest.raises(ValueError, match="at most 10 bytes"):
            await producer.send(bytes(10), key=b"k")
        await producer.send(bytes(9), key=b"k")
    assert partition.end == 1


async def test_columns_of_different_lengths_are_refused(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    async with bus.producer("orders") as producer:
        with pytest.raises(ValueError, match="one entry"):
            await producer.send_many([b"a", b"b"], keys=[b"k"])


@pytest.mark.parametrize(
    ("payloads", "ids"), [(["text"], None), ([b"x"], ["\ud800"]), ([bytes(2_000_000)], ["\u20ac" * 600_000])]
)
async def test_what_cannot_be_a_frame_fails_alone(
    double: BusDouble, bus: Bus, payloads: list[bytes], ids: list[str] | None
) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders") as producer:
        broken = await producer.post_many(payloads, ids=ids)
        fine = await producer.post_many([b"fine"])
        with pytest.raises(InvalidArgumentError):
            await broken[0]
        assert (await fine[0]).offset == 0
    assert partition.payloads() == [b"fine"]
    assert double.frames[0].sequence == 1


@pytest.mark.parametrize(
    "options",
    [
        {"linger": -1},
        {"timeout": -1},
        {"max_batch_records": 0},
        {"max_batch_records": 10_001},
        {"max_batch_bytes": 0},
        {"max_batch_bytes": 3 << 20},
        {"compression": "gzip"},
        {"max_in_flight": 0},
        {"buffer_bytes": 0},
    ],
)
def test_options_out_of_range(bus: Bus, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        bus.producer("orders", **options)  # type: ignore[arg-type]  # that is what is tested
