from __future__ import annotations

import hashlib
import logging
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.svid.join_secret import JoinSecret, fingerprint
from sira_grpc.svid.x509_svid import to_der
from tests.unit.svid.authority import Authority

SECRET = JoinSecret("0123456789", "ab" * 20, "cd" * 32)


def hexes(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=length, max_size=length)


@given(st.builds(JoinSecret, hexes(10), hexes(40), hexes(64)))
def test_what_is_written_is_read(secret: JoinSecret) -> None:
    assert JoinSecret.parse(str(secret)) == secret
    assert JoinSecret.parse(f" {secret}\n") == secret


def test_the_digest_is_of_the_secret_alone() -> None:
    assert SECRET.digest == hashlib.sha256(b"\xab" * 20).digest()


def test_a_repr_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logging.getLogger(__name__).info("%r %s", SECRET, [SECRET])
    for shown in (repr(SECRET), f"{SECRET!r}", caplog.text):
        for hidden in ("0123456789", "abab", "cdcd"):
            assert hidden not in shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        str(SECRET)[:-1],
        f"{SECRET}0",
        str(SECRET).upper(),
        str(SECRET).replace(".", ":"),
        f"{SECRET}.{SECRET}",
        f"0123456789.{'xy' * 20}.{'cd' * 32}",
        f"0123456789 .{'ab' * 20}.{'cd' * 32}",
        f"٠١٢٣٤٥٦٧٨٩.{'ab' * 20}.{'cd' * 32}",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no join token") as caught:
        JoinSecret.parse(text)
    assert not text or text not in str(caught.value)


@given(st.text(string.printable))
def test_garbage_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no join token"):
        JoinSecret.parse(text)


def test_the_fingerprint_is_that_of_the_der() -> None:
    root = Authority().certificate
    assert fingerprint(root) == hashlib.sha256(to_der(root)).hexdigest()
