"""Frames are read as they were packed, whatever is in them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.bus.v1.frame_pb2 import Compression, Frame
from sira.bus.v1.record_pb2 import Attributes, Record
from sira_client.frames import FrameReader, check, checksum, cut, pack, pack_columns
from sira_client.frames.compression import MIN_BYTES, compress, decompress
from sira_client.frames.cutting import cheap_to_cut

COMPRESSIONS = st.sampled_from(Compression.values())
COMPRESSED = [Compression.COMPRESSION_ZSTD, Compression.COMPRESSION_LZ4]


@st.composite
def records(draw: st.DrawFn) -> Record:
    record = Record(
        payload=draw(st.binary(max_size=300)), key=draw(st.binary(max_size=20)), id=draw(st.text(max_size=20))
    )
    if draw(st.booleans()):
        record.attributes.CopyFrom(Attributes(headers=draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5)))))
        record.attributes.content_type = draw(st.sampled_from(["text/plain", "application/json"]))
    if draw(st.booleans()):
        record.event_time.FromNanoseconds(draw(st.integers(1, 2**62)))
    if draw(st.booleans()):
        record.ttl.FromMilliseconds(draw(st.integers(1, 2**32 - 1)))
    if draw(st.booleans()):
        record.deliver_at.FromNanoseconds(draw(st.integers(1, 2**62)))
    return record


MANY = st.lists(records(), min_size=1, max_size=8)


@given(MANY, COMPRESSIONS)
def test_records_are_read_as_they_were_packed(many: list[Record], compression: Compression.ValueType) -> None:
    data = pack(many, compression=compression)
    reader = FrameReader(data)
    check(reader.frame, max_record_bytes=1 << 20)
    assert [reader.record(index) for index in range(reader.count)] == many
    assert reader.payloads() == [record.payload for record in many]


@given(MANY, COMPRESSIONS, st.data())
def test_some_of_them_are_a_frame_too(
    many: list[Record], compression: Compression.ValueType, data: st.DataObject
) -> None:
    reader = FrameReader(pack(many, compression=compression))
    chosen = data.draw(st.lists(st.sampled_from(range(len(many))), min_size=1, unique=True).map(sorted))
    smaller = FrameReader(cut(reader, chosen))
    check(smaller.frame, max_record_bytes=1 << 20)
    assert [smaller.record(index) for index in range(smaller.count)] == [many[index] for index in chosen]


@given(MANY)
def test_columns_and_records_make_the_same(many: list[Record]) -> None:
    columns = pack_columns(
        [record.payload for record in many],
        keys=[record.key for record in many] if any(record.key for record in many) else None,
        ids=[record.id for record in many] if any(record.id for record in many) else None,
        event_times_ns=[record.event_time.ToNanoseconds() for record in many],
        ttls_ms=[record.ttl.ToMilliseconds() for record in many],
        deliver_at_ns=[record.deliver_at.ToNanoseconds() for record in many],
        attributes=[record.attributes for record in many],
    )
    read, expected = FrameReader(columns), FrameReader(pack(many))
    assert [read.record(index) for index in range(read.count)] == [
        expected.record(index) for index in range(expected.count)
    ]


def test_attributes_that_all_share_are_there_once() -> None:
    attributes = Attributes(content_type="text/plain")
    for data in (
        pack([Record(attributes=attributes)] * 3),
        pack_columns([b""] * 3, attributes=attributes),
    ):
        frame = Frame.FromString(data)
        assert (frame.common_attributes, len(frame.attributes)) == (attributes, 0)
        assert FrameReader(data).attributes(2) == attributes


@pytest.mark.parametrize("column", ["keys", "ids", "event_times_ns", "ttls_ms", "deliver_at_ns", "attributes"])
def test_columns_have_one_length(column: str) -> None:
    values: Sequence[object] = [Attributes()] if column == "attributes" else [b"k"] if column == "keys" else []
    with pytest.raises(ValueError, match="one entry"):
        pack_columns([b"", b""], **{column: values})  # type: ignore[arg-type]  # that is what is tested


def test_a_ttl_does_not_become_none() -> None:
    record = Record()
    record.ttl.FromNanoseconds(1)
    assert FrameReader(pack([record])).ttl_ms(0) == 1


@given(st.binary(max_size=2000), COMPRESSIONS)
def test_what_is_compressed_comes_back(data: bytes, kind: Compression.ValueType) -> None:
    packed, used = compress(data, kind)
    assert decompress(packed, used, len(data)) == data
    assert len(packed) <= len(data)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_what_gains_nothing_is_left(kind: Compression.ValueType) -> None:
    none = Compression.COMPRESSION_UNSPECIFIED
    assert compress(bytes(MIN_BYTES - 1), kind) == (bytes(MIN_BYTES - 1), none)
    packed, used = compress(bytes(MIN_BYTES), kind)
    assert (used, len(packed) < MIN_BYTES) == (kind, True)


@given(st.binary(max_size=100), st.sampled_from(COMPRESSED), st.integers(0, 200))
def test_what_is_no_compressed_data_is_a_value_error(junk: bytes, kind: Compression.ValueType, size: int) -> None:
    with pytest.raises(ValueError, match="payloads"):
        decompress(b"\x00" + junk, kind, size + 1)


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("size", [0, 9_999, 10_001])
def test_no_more_is_made_of_it_than_it_says(kind: Compression.ValueType, size: int) -> None:
    packed, used = compress(bytes(10_000), kind)
    with pytest.raises(ValueError, match="bytes, not"):
        decompress(packed, used, size)


def test_a_compression_that_is_not_known() -> None:
    for call in (lambda: compress(bytes(1000), 99), lambda: decompress(b"", 99, 0)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="not known"):
            call()


@given(st.binary(max_size=50))
def test_junk_is_a_frame_or_a_value_error(junk: bytes) -> None:
    with suppress(ValueError):
        assert FrameReader(junk).frame == Frame.FromString(junk)


def test_the_checksum_is_that_of_zlib() -> None:
    assert checksum(b"123456789") == 0xCBF43926


def test_what_is_not_compressed_is_cheap_to_cut() -> None:
    assert cheap_to_cut(Frame())
    assert not cheap_to_cut(Frame(compression=Compression.COMPRESSION_ZSTD))
