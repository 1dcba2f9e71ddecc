from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from sira.bus.v1.dead_letter_pb2 import DeadLetter
from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter
from sira.bus.v1.record_pb2 import Attributes, Record

from sira_grpc.bus.dead_letter_filter import Choice
from tests.unit.bus.dead_letter_world import MAX_DELIVERIES, TERMINATED


def letter() -> DeadLetter:
    return DeadLetter(
        record=Record(key=b"k", attributes=Attributes(headers={"a": "1", "b": "2"})),
        topic="orders.eu",
        reason=TERMINATED,
        dead_letter_time=Timestamp(seconds=100, nanos=5),
    )


@pytest.mark.parametrize(
    "wanted",
    [
        DeadLetterFilter(),
        DeadLetterFilter(key=b"k"),
        DeadLetterFilter(headers={"a": "1"}),
        DeadLetterFilter(headers={"a": "1", "b": "2"}),
        DeadLetterFilter(reason=TERMINATED),
        DeadLetterFilter(topic="orders.eu"),
        DeadLetterFilter(after=Timestamp(seconds=100, nanos=5)),
        DeadLetterFilter(before=Timestamp(seconds=100, nanos=6)),
        DeadLetterFilter(before=Timestamp(seconds=101)),
        DeadLetterFilter(key=b"k", headers={"b": "2"}, reason=TERMINATED, topic="orders.eu", ids=[3]),
    ],
)
def test_it_is_chosen_where_all_that_is_set_applies(wanted: DeadLetterFilter) -> None:
    assert Choice(wanted).takes(letter())


@pytest.mark.parametrize(
    "wanted",
    [
        DeadLetterFilter(key=b"K"),
        DeadLetterFilter(headers={"a": "2"}),
        DeadLetterFilter(headers={"a": "1", "c": ""}),
        DeadLetterFilter(reason=MAX_DELIVERIES),
        DeadLetterFilter(topic="orders"),
        DeadLetterFilter(after=Timestamp(seconds=100, nanos=6)),
        DeadLetterFilter(after=Timestamp(seconds=101)),
        DeadLetterFilter(before=Timestamp(seconds=100, nanos=5)),
        DeadLetterFilter(before=Timestamp(seconds=-(10**17))),
        DeadLetterFilter(key=b"k", topic="orders"),
    ],
)
def test_it_is_left_where_one_thing_does_not_apply(wanted: DeadLetterFilter) -> None:
    assert not Choice(wanted).takes(letter())


def test_looking_changes_nothing() -> None:
    before = letter()
    Choice(DeadLetterFilter(headers={"c": "3"})).takes(before)
    assert before == letter()


@pytest.mark.parametrize(
    "narrow",
    [
        lambda wanted: setattr(wanted, "key", b"k"),
        lambda wanted: wanted.headers.update({"a": "1"}),
        lambda wanted: setattr(wanted, "reason", TERMINATED),
        lambda wanted: setattr(wanted, "topic", "orders"),
        lambda wanted: wanted.after.FromSeconds(0),
        lambda wanted: wanted.before.FromSeconds(0),
    ],
)
def test_what_is_damaged_is_chosen_by_its_id_alone(narrow: Callable[[DeadLetterFilter], None]) -> None:
    wanted = DeadLetterFilter(ids=[1])
    assert Choice(wanted).any_content
    narrow(wanted)
    assert not Choice(wanted).any_content


@given(
    st.lists(st.integers(-3, 40) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=20),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_the_ids_in_question(ids: list[int], first: int, end: int) -> None:
    spans = list(Choice(DeadLetterFilter(ids=ids)).spans(first, end))
    if not ids:
        assert spans == [(first, end)]
        return
    assert [n for low, high in spans for n in range(low, high)] == sorted({n for n in ids if first <= n < end})
    assert all(high < low for (_, high), (low, _) in pairwise(spans)), "they are as long as can be"
