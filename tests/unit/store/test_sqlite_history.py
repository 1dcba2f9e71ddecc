from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.store import Change, Commit
from sira_grpc.store.sqlite_history import below, decode, encode

KEYS = st.from_regex(r"[a-c]{1,2}(/[a-c]{1,2}){0,2}", fullmatch=True)


@given(st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=50)), max_size=20))
def test_a_commit_is_decoded_as_it_was_encoded(written: list[tuple[str, bytes | None]]) -> None:
    changes = tuple(Change(key, value, 7) for key, value in written)
    assert decode(7, encode(changes)) == Commit(7, changes)


def test_a_commit_below_a_prefix_keeps_its_order() -> None:
    first, other, second = Change("a/2", b"", 7), Change("b/1", b"", 7), Change("a/1", None, 7)
    commit = Commit(7, (first, other, second))
    assert below(commit, "a/") == Commit(7, (first, second))
    assert below(commit, "") is commit
    assert below(commit, "c/") is None
