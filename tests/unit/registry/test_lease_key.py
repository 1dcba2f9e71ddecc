from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.registry.lease_key import LeaseKey
from tests.unit.registry.world import seeded_bytes


def test_a_key_opens_what_was_kept_of_it() -> None:
    key = LeaseKey.make(seeded_bytes(1))
    assert LeaseKey.parse(str(key)) == key
    assert key.opens(key.secret_sha256)


def test_another_secret_opens_nothing() -> None:
    random_bytes = seeded_bytes(1)
    key, other = LeaseKey.make(random_bytes), LeaseKey.make(random_bytes)
    assert not other.opens(key.secret_sha256)
    assert not LeaseKey(key.id, "").opens(key.secret_sha256)


def test_the_secret_is_not_shown() -> None:
    key = LeaseKey.make(seeded_bytes(1))
    assert key.secret not in repr(key)


@given(st.text(max_size=40))
def test_any_text_is_a_key_that_opens_nothing(text: str) -> None:
    assert not LeaseKey.parse(text).opens(LeaseKey.make(seeded_bytes(2)).secret_sha256)
