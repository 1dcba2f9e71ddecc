from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.store.nats_envelope import (
    Damaged,
    FrameMessage,
    Kind,
    StateMessage,
    decode_frame,
    decode_state,
    encode_frame,
    encode_state,
)

STATE = StateMessage(Kind.PUT, bytes(range(16)), 2, 3, b"value")
FRAME = FrameMessage(bytes(range(16)), 1, 1, 1_700_000_000_000_000_000, 7, b"lifelife", b"data")


@given(st.sampled_from(Kind), st.binary(min_size=16, max_size=16), st.integers(1, 1000), st.binary(max_size=99))
def test_a_message_of_the_state_is_what_was_written(kind: Kind, commit_id: bytes, count: int, value: bytes) -> None:
    message = StateMessage(kind, commit_id, 1, count, value)
    assert decode_state("sira.k.a", encode_state("sira.k.a", message)) == message


@given(st.data())
def test_no_flipped_bit_goes_unnoticed(data: st.DataObject) -> None:
    for payload, decode in (
        (encode_state("sira.k.a", STATE), lambda changed: decode_state("sira.k.a", changed)),
        (encode_frame(FRAME), decode_frame),
    ):
        bit = data.draw(st.integers(0, len(payload) * 8 - 1))
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            decode(bytes(changed))


@pytest.mark.parametrize("length", [0, 1, 20, 27])
def test_what_is_cut_short_is_damaged(length: int) -> None:
    with pytest.raises(Damaged):
        decode_state("sira.k.a", encode_state("sira.k.a", STATE)[:length])
    with pytest.raises(Damaged):
        decode_frame(encode_frame(FRAME)[:length])


def test_a_message_counts_on_its_own_subject_only() -> None:
    with pytest.raises(Damaged):
        decode_state("sira.k.b", encode_state("sira.k.a", STATE))


def test_a_frame_is_what_was_written() -> None:
    assert decode_frame(encode_frame(FRAME)) == FRAME
