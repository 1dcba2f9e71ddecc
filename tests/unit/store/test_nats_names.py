from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.store.nats_names import Names

SEGMENT = st.text("abcXYZ019_-", min_size=1, max_size=64)
KEY = st.lists(SEGMENT, min_size=1, max_size=8).map("/".join)


@given(KEY)
def test_a_subject_leads_back_to_its_key(key: str) -> None:
    names = Names("sira")
    assert names.key(names.subject(key)) == key
    assert names.key(names.checks) == names.key(names.mark) == ""


@given(KEY, KEY)
def test_no_two_partitions_share_a_stream(one: str, other: str) -> None:
    names = Names("sira")
    assert (names.log(one) == names.log(other)) == (one == other)
    stream, subject = names.log(one)
    assert len(stream) < 200
    assert not set(stream) & set("./\\*> ")
    assert subject.count(".") == 2
