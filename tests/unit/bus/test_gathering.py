"""One frame of records of several others has what each of them said."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from sira.bus.v1.frame_pb2 import Compression
from sira.bus.v1.record_pb2 import Record
from sira_client.frames import FrameReader, check, pack

from sira_grpc.bus.gathering import Part, gather

KINDS = [Compression.COMPRESSION_UNSPECIFIED, Compression.COMPRESSION_ZSTD, Compression.COMPRESSION_LZ4]


@st.composite
def a_record(draw: st.DrawFn) -> Record:
    record = Record(payload=draw(st.binary(max_size=3)) * draw(st.integers(1, 200)))
    if draw(st.booleans()):
        record.id = draw(st.text(min_size=1, max_size=5))
    if draw(st.booleans()):
        record.key = draw(st.binary(min_size=1, max_size=5))
    if draw(st.booleans()):
        record.attributes.content_type = draw(st.sampled_from(["text/plain", "image/png"]))
    if draw(st.booleans()):
        record.event_time.FromNanoseconds(draw(st.integers(1, 10**18)))
    if draw(st.booleans()):
        record.ttl.FromMilliseconds(draw(st.integers(1, 10**9)))
    if draw(st.booleans()):
        record.deliver_at.FromNanoseconds(draw(st.integers(1, 10**18)))
    return record


FRAMES = st.lists(
    st.tuples(st.lists(a_record(), min_size=1, max_size=5), st.sampled_from(KINDS)), min_size=1, max_size=4
)


@settings(deadline=None)
@given(frames=FRAMES, data=st.data())
def test_it_has_these_records_in_this_order(
    frames: list[tuple[list[Record], Compression.ValueType]], data: st.DataObject
) -> None:
    parts: list[Part] = []
    expected: list[Record] = []
    for records, kind in frames:
        indexes = data.draw(st.lists(st.sampled_from(range(len(records))), min_size=1, unique=True))
        parts.append(Part(FrameReader(pack(records, compression=kind)), indexes))
        expected += [records[index] for index in indexes]
    frame = gather(parts)
    check(frame, max_record_bytes=1 << 20)
    reader = FrameReader(frame.SerializeToString())
    assert [reader.record(index) for index in range(reader.count)] == expected


def test_what_was_compressed_is_compressed_again() -> None:
    plain = FrameReader(pack([Record(payload=b"a" * 500)]))
    zstd = FrameReader(pack([Record(payload=b"b" * 500)], compression=Compression.COMPRESSION_ZSTD))
    both = gather([Part(plain, [0]), Part(zstd, [0])])
    assert both.compression == Compression.COMPRESSION_ZSTD
    assert len(both.payloads) < 200


def test_the_frame_that_it_is_made_of_stays_as_it_is() -> None:
    reader = FrameReader(pack([Record(payload=b"a"), Record(payload=b"b")]))
    frame = gather([Part(reader, [0, 1])])
    frame.count = 7
    assert reader.frame.count == 2
