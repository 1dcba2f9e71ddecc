from __future__ import annotations

from typing import Any

import pytest
from sira.bus.v1.frame_pb2 import Compression, Frame
from sira.bus.v1.record_pb2 import Attributes
from sira_client.frames import FrameError, check
from sira_client.frames.checking import MAX_ATTRIBUTES_BYTES, MAX_PAYLOADS_BYTES, MAX_RECORDS

LARGE = Attributes(headers={str(number): "x" * 4096 for number in range(16)})
SOME = Attributes(content_type="x" * 8)


def frame(**fields: Any) -> Frame:
    """A frame of two records that keeps the rules, but for these fields."""
    good: dict[str, Any] = {"count": 2, "payloads_bytes": 3, "payload_sizes": [1, 2], "payloads": b"abc"}
    return Frame(**good | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"keys": b"kk", "key_sizes": [2, 0]},
        {"ids": ["a", ""], "ttls_ms": [0, 1], "event_times_ns": [1, 2], "deliver_at_ns": [0, 3]},
        {"attributes": [SOME, Attributes()], "common_attributes": SOME},
        {"compression": Compression.COMPRESSION_ZSTD, "payloads": b"whatever"},
    ],
)
def test_what_keeps_the_rules_passes(fields: dict[str, Any]) -> None:
    check(frame(**fields), max_record_bytes=100)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": MAX_RECORDS + 1}, "count"),
        ({"payload_sizes": [3]}, "payload_sizes"),
        ({"payload_sizes": [1, 1]}, "payload_sizes"),
        ({"payloads_bytes": MAX_PAYLOADS_BYTES + 1}, "payloads_bytes"),
        ({"payloads": b"ab"}, "payloads"),
        ({"compression": 99}, "compression"),
        ({"key_sizes": [1]}, "key_sizes"),
        ({"key_sizes": [1, 1], "keys": b"k"}, "key_sizes"),
        ({"keys": b"k"}, "key_sizes"),
        ({"key_sizes": [1025, 0], "keys": bytes(1025)}, "key_sizes"),
        ({"ids": ["a"]}, "ids"),
        ({"ids": ["a", "x" * 129]}, "ids"),
        ({"event_times_ns": [1]}, "event_times_ns"),
        ({"ttls_ms": [1]}, "ttls_ms"),
        ({"deliver_at_ns": [1]}, "deliver_at_ns"),
        ({"attributes": [SOME]}, "attributes"),
        ({"attributes": [SOME, LARGE]}, "attributes"),
        ({"common_attributes": LARGE}, "attributes"),
    ],
)
def test_what_breaks_a_rule_is_told_by_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(FrameError) as caught:
        check(frame(**fields), max_record_bytes=1 << 20)
    assert caught.value.field == field
    assert str(caught.value) == f"{field}: {caught.value.rule}"


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, 2),
        ({"keys": b"kk", "key_sizes": [2, 0]}, 3),
        ({"keys": b"kk", "key_sizes": [0, 2]}, 4),
        ({"attributes": [SOME, Attributes()]}, 11),
        ({"common_attributes": SOME}, 12),
        ({"attributes": [SOME, Attributes()], "common_attributes": SOME, "keys": b"kk", "key_sizes": [0, 2]}, 14),
    ],
)
def test_a_record_is_no_larger_than_it_may_be(fields: dict[str, Any], size: int) -> None:
    check(frame(**fields), max_record_bytes=size)
    with pytest.raises(FrameError, match="record "):
        check(frame(**fields), max_record_bytes=size - 1)


def test_attributes_up_to_the_limit_pass() -> None:
    headers = {str(number): "x" * 4000 for number in range(16)}
    assert Attributes(headers=headers).ByteSize() <= MAX_ATTRIBUTES_BYTES
    check(frame(common_attributes=Attributes(headers=headers)), max_record_bytes=1 << 20)
