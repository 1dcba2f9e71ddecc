from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira_client.balancing import Rendezvous
from sira_client.balancing.rendezvous import digest

KEYS = [f"key-{i}" for i in range(4000)]

members = st.dictionaries(st.text(max_size=8), st.sampled_from([0.0, 1.0, 2.5, 100.0]), min_size=1, max_size=12).map(
    lambda found: list(found.items())
)


@given(members, st.text())
def test_order_holds_every_member_once_and_begins_with_the_pick(found: list[tuple[str, float]], key: str) -> None:
    hashing = Rendezvous(found)
    order = hashing.order(key)
    assert sorted(order) == list(range(len(found)))
    assert order[0] == hashing.pick(key)


@given(members, st.text())
def test_order_does_not_depend_on_the_order_of_the_members(found: list[tuple[str, float]], key: str) -> None:
    turned = found[::-1]
    assert [found[i] for i in Rendezvous(found).order(key)] == [turned[i] for i in Rendezvous(turned).order(key)]


@given(members, st.text(), st.data())
def test_removing_a_member_moves_only_its_own_keys(
    found: list[tuple[str, float]], key: str, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(found))
    left = [member for member in found if member is not gone]
    before = [found[i] for i in Rendezvous(found).order(key)]
    assert [member for member in before if member is not gone] == [left[i] for i in Rendezvous(left).order(key)]


@given(members, st.text(), st.data())
def test_a_heavier_member_takes_keys_and_moves_no_others(
    found: list[tuple[str, float]], key: str, data: st.DataObject
) -> None:
    grown = data.draw(st.integers(0, len(found) - 1))
    heavier = [(name, weight + 50.0 if i == grown else weight) for i, (name, weight) in enumerate(found)]
    before, after = Rendezvous(found).pick(key), Rendezvous(heavier).pick(key)
    assert after in {before, grown}


def test_keys_fall_in_proportion_to_weight() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    hashing = Rendezvous(list(weights.items()))
    counts = Counter(hashing.pick(key) for key in KEYS)
    for position, weight in enumerate(weights.values()):
        expected = len(KEYS) * weight / 8
        # Five standard deviations of a binomial: the hash is fixed, so this holds always or never.
        assert abs(counts[position] - expected) < 5 * (expected * (1 - weight / 8)) ** 0.5


def test_members_without_weight_come_last() -> None:
    hashing = Rendezvous([("idle", 0.0), ("a", 0.001), ("b", 1.0)])
    assert all(hashing.order(key)[-1] == 0 for key in KEYS[:100])


def test_nobody_to_pick_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        Rendezvous([]).pick("key")


def test_digest_is_the_same_everywhere() -> None:
    assert digest("namespaces/default/services/greeter/endpoints/e1") == 8558703457394219462
