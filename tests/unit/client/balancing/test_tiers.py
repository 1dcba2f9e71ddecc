from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.locality_pb2 import Locality
from sira_client.balancing import tiers

sizes = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=3).map(
    lambda pairs: ([min(p) for p in pairs], [max(p) for p in pairs])
)
thresholds = st.floats(0.01, 1)


@pytest.mark.parametrize(
    ("caller", "there", "expected"),
    [
        (("eu", "a"), ("eu", "a"), 0),
        (("eu", "a"), ("eu", "b"), 1),
        (("eu", "a"), ("us", "a"), 2),
        (("eu", "a"), ("", ""), 2),
        (("eu", "a"), ("", "a"), 2),
        (("eu", ""), ("eu", "a"), 1),
        (("eu", ""), ("eu", ""), 1),
        (("", "a"), ("", "a"), 0),
        (("", "a"), ("", ""), 2),
        (("", "a"), ("eu", "a"), 2),
    ],
)
def test_nearness(caller: tuple[str, str], there: tuple[str, str], expected: int) -> None:
    assert tiers.tier(*caller, Locality(region=there[0], zone=there[1])) == expected


@pytest.mark.parametrize(
    ("usable", "registered", "expected"),
    [
        ([4, 4, 4], [4, 4, 4], [1, 0, 0]),
        ([7, 9, 9], [10, 9, 9], [1, 0, 0]),  # at the threshold, nothing is handed on
        ([35, 100, 9], [100, 100, 9], [0.5, 0.5, 0]),
        ([0, 7, 9], [10, 10, 9], [0, 1, 0]),
        ([0, 0, 0], [10, 10, 9], [0, 0, 0]),
        ([7, 14, 0], [100, 100, 0], [1 / 3, 2 / 3, 0]),  # 0.1 and 0.2 can be taken: shared in proportion
    ],
)
def test_shares_hand_on_what_a_tier_cannot_take(
    usable: list[int], registered: list[int], expected: list[float]
) -> None:
    assert tiers.shares(usable, registered, 0.7) == pytest.approx(expected)


@given(sizes, thresholds)
def test_shares_add_up_and_go_only_where_something_is_usable(
    found: tuple[list[int], list[int]], threshold: float
) -> None:
    usable, registered = found
    shares = tiers.shares(usable, registered, threshold)
    assert sum(shares) == pytest.approx(1 if any(usable) else 0)
    assert all(0 <= share <= 1 for share in shares)
    assert not any(share for share, here in zip(shares, usable, strict=True) if not here)


@given(sizes, thresholds)
def test_a_tier_above_the_threshold_hands_nothing_on(found: tuple[list[int], list[int]], threshold: float) -> None:
    usable, registered = found
    shares = tiers.shares(usable, registered, threshold)
    for i, (here, there) in enumerate(zip(usable, registered, strict=True)):
        if there and here / there >= threshold:
            assert not any(shares[i + 1 :])


@given(sizes, thresholds, st.integers(1, 30))
def test_a_subset_has_as_many_places_as_it_may_and_can(
    found: tuple[list[int], list[int]], threshold: float, size: int
) -> None:
    usable, registered = found
    shares = tiers.shares(usable, registered, threshold)
    places = tiers.allot(size, shares, usable)
    assert sum(places) == min(size, sum(usable))
    assert all(0 <= place <= here for place, here in zip(places, usable, strict=True))
    active = [place for place, share in zip(places, shares, strict=True) if share]
    if size >= len(active):
        assert all(active)
