"""Pages of a list: a token says after which key to go on, and for which query it was made."""

from __future__ import annotations

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


def take_page(items: Iterable[T], key: Callable[[T], str], *, size: int, token: str, query: str) -> tuple[list[T], str]:
    """Returns the page of items, in the order of their keys, that a token stands for, and the token of the next one.

    Raises:
        InvalidPageToken.
    """
    after = decode_token(token, query)
    wanted = page_size(size)
    found = nsmallest(wanted + 1, (item for item in items if key(item) > after), key=key)
    if len(found) <= wanted:
        return found, ""
    page = found[:wanted]
    return page, encode_token(key(page[-1]), query)
