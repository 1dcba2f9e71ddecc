from __future__ import annotations

import gc

import pytest

from sira_grpc.xds import name_sets
from sira_grpc.xds.name_sets import EMPTY, NameSets


def test_the_same_names_are_one_set() -> None:
    sets = NameSets()
    one = sets.of(["a", "b"])
    assert sets.of(["b", "a", "a"]) is one
    assert sets.of(["a"]) is not one
    assert sets.of([]) is EMPTY


def test_what_nobody_uses_is_gone() -> None:
    sets = NameSets()
    kept = sets.of(["a", "b"])
    for i in range(100):
        sets.of([f"name {i}"])
    gc.collect()
    assert list(sets._sets.values()) == [kept]


def test_sets_share_the_strings_that_they_have_in_common() -> None:
    sets = NameSets()
    one, other = (sets.of([f"lo{end}", last]) for end, last in (("ng", "a"), ("ng", "b")))
    assert len({id(name) for each in (one, other) for name in each if name == "long"}) == 1


def test_of_the_names_that_were_asked_for_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_sets, "KEPT_BYTES", 10_000)
    sets = NameSets()
    for number in range(100):
        sets.of(f"{number} {n} {'x' * 100}" for n in range(10))
    assert len(sets._names) < 100
