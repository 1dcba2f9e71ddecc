"""The ids of records within their window."""

from __future__ import annotations

import pytest

import sira_grpc.bus.record_ids as module
from sira_grpc.bus.record_ids import RecordIds
from tests.clocks import NANOS

WINDOW = 10 * NANOS


def found(ids: RecordIds, names: str, now: int = 0) -> list[int | None]:
    return [ids.find(name, now * NANOS) for name in names]


def test_ids_are_known_until_the_window_is_over() -> None:
    ids = RecordIds(WINDOW)
    ids.note(["a", "", "b"], [0, 1, 2], 0)
    ids.note(["c"], [3], 5 * NANOS)
    assert found(ids, "abcd", 10) == [0, 2, 3, None]
    assert found(ids, "abcd", 11) == [None, None, 3, None]
    assert ids.find("", 0) is None


def test_an_id_that_comes_again_after_its_window_has_a_new_one() -> None:
    ids = RecordIds(WINDOW)
    ids.note(["a"], [0], 0)
    ids.note(["a"], [7], 9 * NANOS)
    assert found(ids, "a", 15) == [7]


def test_without_a_window_nothing_is_remembered() -> None:
    ids = RecordIds(0)
    ids.note(["a"], [0], 0)
    assert found(ids, "a") == [None]
    assert ids.take_fresh() == []


def test_the_newest_are_remembered_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDS", 2)
    ids = RecordIds(WINDOW)
    ids.note(["a", "b", "c"], [0, 1, 2], 0)
    assert found(ids, "abc") == [None, 1, 2]


def test_what_could_not_be_stored_is_retracted() -> None:
    ids = RecordIds(WINDOW)
    ids.note(["a", "b", ""], [0, 1, 2], 0)
    ids.retract(["b", ""])
    assert found(ids, "ab") == [0, None]
    assert len(ids.take_fresh()) == 1


def test_what_is_fresh_is_stored_once_and_loaded() -> None:
    ids = RecordIds(WINDOW)
    ids.note(["a", "b"], [0, 1], 0)
    fresh = ids.take_fresh()
    assert ids.take_fresh() == []
    ids.note(["c"], [2], NANOS)
    ids.give_back(fresh)
    fresh = ids.take_fresh()
    other = RecordIds(WINDOW)
    other.load(
        b"".join(key for key, _, _ in fresh), [place for _, place, _ in fresh], [time_ns for _, _, time_ns in fresh]
    )
    assert found(other, "abc", 10) == [0, 1, 2]
    assert found(other, "abc", 11) == [None, None, 2]


def test_what_was_scheduled_is_recalled_within_its_window() -> None:
    ids = RecordIds(WINDOW)
    ids.note(["a"], [5], 20 * NANOS)
    ids.recall(["a", "b", ""], -1, 15 * NANOS, 21 * NANOS)
    ids.recall(["c"], -1, 10 * NANOS, 21 * NANOS)
    assert found(ids, "abc", 21) == [5, -1, None]
