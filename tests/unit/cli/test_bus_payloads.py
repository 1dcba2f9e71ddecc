"""Payloads and keys as people read them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.cli.bus import payloads


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"", []),
        (b"hello", ["hello"]),
        (b"two\nlines\n", ["two", "lines"]),
        ("käse".encode(), ["käse"]),
        (b'{"a":[1,2]}', ['{"a": [1, 2]}']),
        (b"[1,", ["[1,"]),
        (b"\x00\xffA", ["0000  00 ff 41" + " " * 39 + "  ..A"]),
        (b"\x1b[31mred", ["0000  1b 5b 33 31 6d 72 65 64" + " " * 24 + "  .[31mred"]),
    ],
)
def test_is_shown_as_what_it_is(payload: bytes, shown: list[str]) -> None:
    assert payloads.lines(payload) == shown


def test_json_that_is_long_is_broken() -> None:
    value = {"numbers": list(range(40))}
    shown = payloads.lines(json.dumps(value).encode())
    assert len(shown) > 40
    assert json.loads("\n".join(shown)) == value


def test_json_cannot_smuggle_anything_in() -> None:
    assert payloads.lines(b'["\\u001b[31m", "\\u009b"]') == ['["\\u001b[31m", "\\u009b"]']


def test_of_what_is_no_text_the_beginning_is_shown() -> None:
    shown = payloads.lines(bytes(1000))
    assert len(shown) == payloads.SHOWN_BYTES // 16 + 1
    assert shown[-1] == "... 1,000 bytes in all"


def test_keys_and_headers_stay_on_one_line() -> None:
    assert payloads.brief(b"customer-1") == "customer-1"
    assert payloads.brief(b"\x01\xff") == "0x01ff"
    assert payloads.brief(b"a\nb") == "0x610a62"
    assert payloads.word("plain") == "plain"
    assert payloads.word("a\x1b") == '"a\\u001b"'


@given(st.binary(max_size=400))
def test_nothing_gets_through_that_a_terminal_would_obey(payload: bytes) -> None:
    assert all(line.replace("\t", " ").isprintable() for line in payloads.lines(payload))
    assert payloads.brief(payload).replace("\t", " ").isprintable()
