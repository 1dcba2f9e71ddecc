"""Frames of any content: most keep the rules of their columns, none need be what a client would make."""

from __future__ import annotations

from hypothesis import strategies as st
from sira.bus.v1.frame_pb2 import Compression, Frame
from sira.bus.v1.record_pb2 import Attributes

from tests.integration.garbage import messages

_MOST = 6
_TIMES = st.one_of(st.sampled_from([0, 1, -1, (1 << 63) - 1, -(1 << 63)]), st.integers(-(1 << 63), (1 << 63) - 1))
_PAST = st.one_of(st.just(0), st.integers(-(1 << 63), 1_700_000_000_000_000_000))
_ATTRIBUTES = st.builds(
    Attributes,
    headers=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3),
    content_type=st.text(max_size=8),
)


@st.composite
def sound_frames(draw: st.DrawFn) -> Frame:
    """Frames that keep the rules, with nothing scheduled. What is compressed need not be what it says."""
    count = draw(st.integers(1, _MOST))
    payloads = draw(st.lists(st.binary(max_size=8), min_size=count, max_size=count))
    frame = Frame(
        count=count,
        payload_sizes=map(len, payloads),
        payloads=b"".join(payloads),
        payloads_bytes=sum(map(len, payloads)),
    )
    if draw(st.booleans()):
        frame.compression = draw(st.sampled_from([Compression.COMPRESSION_ZSTD, Compression.COMPRESSION_LZ4]))
        frame.payloads = draw(st.binary(max_size=16))
    if draw(st.booleans()):
        keys = draw(st.lists(st.binary(max_size=3), min_size=count, max_size=count))
        frame.keys = b"".join(keys)
        frame.key_sizes.extend(map(len, keys))
    columns = {
        "event_times_ns": _TIMES,
        "ttls_ms": st.integers(0, (1 << 32) - 1),
        "deliver_at_ns": _PAST,
        "attributes": _ATTRIBUTES,
        "ids": st.text(max_size=4),
    }
    for name, entries in columns.items():
        if draw(st.booleans()):
            getattr(frame, name).extend(draw(st.lists(entries, min_size=count, max_size=count)))
    if draw(st.booleans()):
        frame.common_attributes.CopyFrom(draw(_ATTRIBUTES))
    return frame


BASE = Frame(count=2, payloads_bytes=2, payload_sizes=[1, 1], payloads=b"ab")


def frames() -> st.SearchStrategy[bytes]:
    """Frames on the wire: sound ones, and now and then garbage."""
    sound = sound_frames().map(lambda frame: frame.SerializeToString())
    return st.one_of(sound, sound, sound, messages(BASE, ["known", ""]))
