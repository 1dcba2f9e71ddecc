from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.errors import InvalidPageToken
from sira_grpc.pages import LOADED_AT_ONCE, decode_token, encode_token, page_size, take_page


async def taken(
    items: Iterable[str], matches: Callable[[str], bool] | None = None, *, size: int, token: str
) -> tuple[list[str], str]:
    """A page of upper-case items that are named in lower case."""
    return await take_page(items, str.upper, matches, size=size, token=token, query="q")


async def all_pages(items: Iterable[str], matches: Callable[[str], bool] | None, size: int) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        page, token = await taken(items, matches, size=size, token=token)
        assert len(page) <= size
        found += page
        if not token:
            return found
        assert len(page) == size


NAMES = st.sets(st.text("abcdef", min_size=1, max_size=4), max_size=40)


@given(NAMES, st.integers(1, 7))
def test_the_pages_together_are_the_list_in_order(items: set[str], size: int) -> None:
    assert asyncio.run(all_pages(items, None, size)) == [item.upper() for item in sorted(items)]


@given(NAMES, st.integers(1, 7))
def test_the_pages_of_what_matches(items: set[str], size: int) -> None:
    found = asyncio.run(all_pages(items, lambda item: "A" in item, size))
    assert found == [item.upper() for item in sorted(items) if "a" in item]


async def test_what_is_added_or_removed_between_pages_moves_nothing_else() -> None:
    page, token = await taken(["b", "d", "f"], size=2, token="")
    assert page == ["B", "D"]
    assert await taken(["a", "c", "e", "f"], size=2, token=token) == (["E", "F"], "")


async def test_others_have_their_turn_while_many_are_looked_at() -> None:
    items = {f"{i:05}": i for i in range(10 * LOADED_AT_ONCE)}
    names = list(items)

    async def other() -> None:
        items.pop(names[-1])

    task = asyncio.create_task(other())
    found, token = await take_page(names, items.get, lambda i: i % 500 == 499, size=100, token="", query="q")
    assert task.done()
    assert (found, token) == (list(range(499, 10 * LOADED_AT_ONCE - 1, 500)), "")  # what is gone is not listed


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
