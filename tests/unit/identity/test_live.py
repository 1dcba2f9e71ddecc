"""Certificates count until they expire, are revoked or are renewed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sira.identity.v1.certificate_pb2 import Certificate

from sira_grpc.identity.live import LiveCertificates


def certificate(serial: str, authority: str = "a", *, superseded: bool = False, revoked: bool = False) -> Certificate:
    made = Certificate(serial=serial, authority=authority, superseded_by="x" if superseded else "")
    if revoked:
        made.revoke_time.FromSeconds(1)
    return made


def test_each_counts_for_its_authority_until_it_expires() -> None:
    live = LiveCertificates()
    live.note(certificate("1"), 10)
    live.note(certificate("2"), 20)
    live.note(certificate("3", "b"), 15)
    assert (live.count(9), live.count(9, "a"), live.count(9, "b"), live.count(9, "c")) == (3, 2, 1, 0)
    assert (live.count(10), live.count(10, "a")) == (2, 1)
    assert (live.count(15), live.count(19, "a")) == (1, 1)
    assert live.count(20) == 0


def test_what_was_renewed_or_revoked_counts_no_more() -> None:
    live = LiveCertificates()
    for serial in "123":
        live.note(certificate(serial), 10)
    live.note(certificate("1", superseded=True), 10)
    live.note(certificate("2", revoked=True), 10)
    live.note(certificate("2", superseded=True, revoked=True), 10)
    assert live.count(0, "a") == 1


def test_one_that_has_ended_already_never_counts() -> None:
    live = LiveCertificates()
    live.note(certificate("1", revoked=True), 10)
    live.note(certificate("2"), 5)
    assert live.count(5) == 0


NOTES = st.lists(st.tuples(st.sampled_from("1234"), st.sampled_from("ab"), st.booleans(), st.booleans()), max_size=30)


@given(NOTES, st.lists(st.integers(0, 50), max_size=5))
def test_the_counts_are_those_of_a_plain_list(notes: list[tuple[str, str, bool, bool]], times: list[int]) -> None:
    live, model = LiveCertificates(), dict[str, Certificate]()
    expiry = {"1": 10, "2": 20, "3": 20, "4": 40}
    for serial, authority, superseded, revoked in notes:
        known = model.get(serial)
        # Of one authority always; what has ended once has ended for ever.
        made = certificate(
            serial,
            known.authority if known else authority,
            superseded=superseded or bool(known and known.superseded_by),
            revoked=revoked or bool(known and known.HasField("revoke_time")),
        )
        model[serial] = made
        live.note(made, expiry[serial])
    for time in sorted(times):
        for authority in ("", "a", "b"):
            wanted = sum(
                expiry[c.serial] > time
                and not c.superseded_by
                and not c.HasField("revoke_time")
                and authority in ("", c.authority)
                for c in model.values()
            )
            assert live.count(time, authority) == wanted
