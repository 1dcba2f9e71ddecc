from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.errors import InvalidPageToken
from sira_grpc.registry.pages import decode_token, encode_token, page_size, take_page


def key(item: str) -> str:
    return item


@given(st.sets(st.text(min_size=1, max_size=5), max_size=40), st.integers(1, 7))
def test_the_pages_together_are_the_list_in_order(items: set[str], size: int) -> None:
    found: list[str] = []
    token = ""
    while True:
        page, token = take_page(items, key, size=size, token=token, query="q")
        assert len(page) <= size
        found += page
        if not token:
            break
        assert page
    assert found == sorted(items)


def test_what_is_added_or_removed_between_pages_moves_nothing_else() -> None:
    page, token = take_page(["b", "d", "f"], key, size=2, token="", query="q")
    assert page == ["b", "d"]
    assert take_page(["a", "c", "e", "f"], key, size=2, token=token, query="q") == (["e", "f"], "")


def test_a_token_of_another_query_is_refused() -> None:
    token = encode_token("a", "q")
    assert decode_token(token, "q") == "a"
    with pytest.raises(InvalidPageToken, match="another parent or filter"):
        decode_token(token, "p")


@given(st.text(min_size=1, max_size=30))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidPageToken, match=r"^page_token: "):
        decode_token(text, "q")


def test_the_size_has_a_default_and_a_maximum() -> None:
    assert page_size(0) == 100
    assert page_size(7) == 7
    assert page_size(1 << 31) == 1000
