from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.xds.recent import Recent


def test_what_was_put_is_there() -> None:
    recent: Recent[str, int] = Recent(10)
    recent.put("a", 1, 3)
    recent.put("a", 2, 3)
    assert recent.get("a") == 2
    assert recent.get("b") is None
    assert len(recent) == 1
    recent.drop("a")
    recent.drop("a")
    assert recent.get("a") is None
    assert len(recent) == 0


def test_what_is_asked_for_stays_and_what_is_not_goes() -> None:
    recent: Recent[int, str] = Recent(10)
    recent.put(-1, "asked for", 1)
    recent.put(-2, "forgotten", 1)
    for number in range(50):
        recent.put(number, "", 1)
        assert recent.get(-1) == "asked for"
        assert len(recent) <= 20
    assert recent.get(-2) is None


def test_one_that_is_larger_than_all_of_it_is_kept_until_the_next() -> None:
    recent: Recent[int, str] = Recent(10)
    for number in range(5):
        recent.put(number, "large", 100)
        assert recent.get(number) == "large"
        assert len(recent) <= 2


@given(st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 5), st.integers(1, 6)), max_size=100))
def test_it_never_holds_more_than_twice_its_limit_and_never_lies(steps: list[tuple[str, int, int]]) -> None:
    recent: Recent[int, int] = Recent(10)
    model: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for count, (step, key, size) in enumerate(steps):
        if step == "p":
            recent.put(key, count, size)
            model[key], sizes[key] = count, size
        elif step == "d":
            recent.drop(key)
            model.pop(key, None)
        else:
            assert recent.get(key) in (None, model.get(key))
        held = [key for key in model if key in recent._young or key in recent._old]
        assert len(recent) == len(held)
        assert sum(sizes[key] for key in held) <= 2 * (10 + 6)
