"""How far each producer has come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.bus.producers import FRAMES_REMEMBERED, MAX_PRODUCERS, SCHEDULED, Producers
from sira_grpc.errors import SequenceGap


def reloaded(producers: Producers) -> Producers:
    other = Producers()
    other.load(list(producers.marks()))
    return other


def test_a_producer_may_begin_with_any_sequence() -> None:
    producers = Producers()
    assert producers.find("p", 7, 3) is None
    assert producers.next_sequence("p") == 1
    producers.note("p", 7, 3, 100, 0)
    assert producers.find("p", 10, 1) is None
    assert producers.next_sequence("p") == 10
    assert producers.find("q", 3, 1) is None, "another one"


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=100))
def test_frames_that_were_there_are_found(counts: list[int]) -> None:
    producers = Producers()
    places: list[tuple[int, int, int]] = []
    sequence = 1
    for count in counts:
        producers.note("p", sequence, count, sequence * 10, 0)
        places.append((sequence, count, sequence * 10))
        sequence += count
    for known in (producers, reloaded(producers)):
        for first, count, offset in places[-FRAMES_REMEMBERED:]:
            assert known.find("p", first, count) == offset
        for first, count, _ in places[:-FRAMES_REMEMBERED]:
            assert known.find("p", first, count) == SCHEDULED
        assert known.find("p", sequence, 1) is None
        assert known.last_offset("p") == places[-1][2]
        with pytest.raises(SequenceGap):
            known.find("p", sequence + 1, 1)
        with pytest.raises(SequenceGap):
            known.find("p", 0, sequence + 1)  # cuts across


def test_what_could_not_be_stored_is_retracted() -> None:
    producers = Producers()
    producers.note("p", 1, 2, 0, 0)
    producers.note("p", 3, 2, 2, 0)
    producers.note("p", 5, 1, 4, 0)
    producers.retract("p", 5)
    producers.retract("p", 3)
    assert producers.find("p", 3, 9) is None
    assert producers.find("p", 1, 2) == 0
    producers.retract("p", 7)
    producers.retract("q", 1)
    assert producers.next_sequence("p") == 3


def test_a_producer_whose_first_frame_was_refused_must_begin_with_it() -> None:
    producers = Producers()
    producers.expect("p", 5, 0)
    with pytest.raises(SequenceGap):
        producers.find("p", 6, 1)
    assert producers.find("p", 5, 1) is None
    assert producers.last_offset("p") is None
    producers.note("p", 5, 1, 0, 0)
    producers.expect("p", 9, 0)
    assert producers.find("p", 6, 1) is None, "of one that is known, nothing changes"


def test_the_one_that_has_been_silent_for_longest_is_forgotten() -> None:
    producers = Producers()
    for number in range(MAX_PRODUCERS):
        producers.note(f"p{number}", 1, 1, number, number)
    producers.note("p0", 2, 1, 5000, MAX_PRODUCERS)
    producers.note("new", 1, 1, 5001, MAX_PRODUCERS + 1)
    assert producers.last_offset("p1") is None
    assert producers.last_offset("p0") == 5000
    assert len(list(reloaded(producers).marks())) == MAX_PRODUCERS
    producers.recall("older", 1, 1, 1)
    assert producers.last_offset("older") is None, "it would have been forgotten"
    producers.recall("newer", 1, 1, MAX_PRODUCERS)
    assert producers.last_offset("newer") == SCHEDULED


def test_what_was_scheduled_is_recalled_unless_more_is_known() -> None:
    producers = Producers()
    producers.note("p", 1, 5, 0, 0)
    producers.recall("p", 1, 5, 0)
    assert producers.find("p", 1, 5) == 0
    producers.recall("p", 6, 2, 0)
    assert producers.next_sequence("p") == 8
    assert producers.find("p", 6, 2) == SCHEDULED
