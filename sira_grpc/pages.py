"""Pages of a list: a token says after which key to go on, and for which query it was made."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from heapq import nsmallest
from typing import TypeVar

from sira_grpc.errors import InvalidPageToken

DEFAULT_SIZE = 100
MAX_SIZE = 1000
DIGEST_BYTES = 8
LOADED_AT_ONCE = 500
"""Items that are looked at without a pause, some 5 ms."""

T = TypeVar("T")


def page_size(asked: int) -> int:
    """Returns the size of a page: 100 if none is asked for, 1,000 at most."""
    return min(asked or DEFAULT_SIZE, MAX_SIZE)


def encode_token(after: str, query: str) -> str:
    """Returns the token of the page that follows a key in the list of a query."""
    return base64.urlsafe_b64encode(_digest(query) + after.encode()).decode().rstrip("=")


def decode_token(token: str, query: str) -> str:
    """Returns the key that a page follows; empty for an empty token, the first page.

    Raises:
        InvalidPageToken: it is not one of ours, or was made for another query.
    """
    if not token:
        return ""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        after = raw[DIGEST_BYTES:].decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidPageToken("page_token: not a next_page_token of an earlier page") from error
    if raw[:DIGEST_BYTES] != _digest(query):
        raise InvalidPageToken("page_token: made for another parent or filter; begin again without it")
    return after


def _digest(query: str) -> bytes:
    return hashlib.blake2b(query.encode(), digest_size=DIGEST_BYTES).digest()


async def take_page(
    names: Iterable[str],
    load: Callable[[str], T | None],
    matches: Callable[[T], bool] | None,
    *,
    size: int,
    token: str,
    query: str,
) -> tuple[list[T], str]:
    """Returns the page, in the order of the names, that a token stands for, and the token of the next one.

    Others have a turn in between while many are looked for.

    Args:
        names: of all there are.
        load: returns the item of a name; None if it has gone in between.
        matches: whether an item is wanted; None for all.
        size: what was asked for.
        token: that of the page before; empty for the first.
        query: what the list is of; a token belongs to one.

    Raises:
        InvalidPageToken.
    """
    after = decode_token(token, query)
    wanted = page_size(size)
    following = (name for name in names if name > after)
    ordered = nsmallest(wanted + 1, following) if matches is None else sorted(following)
    page: list[T] = []
    last = ""
    for count, name in enumerate(ordered, start=1):
        if matches is not None and count % LOADED_AT_ONCE == 0:
            await asyncio.sleep(0)
        item = load(name)
        if item is None or not (matches is None or matches(item)):
            continue
        if len(page) == wanted:
            return page, encode_token(last, query)
        page.append(item)
        last = name
    return page, ""
