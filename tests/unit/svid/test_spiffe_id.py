from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spiffe import SpiffeId as TheirSpiffeId

from sira_grpc.svid.spiffe_id import (
    ANY,
    MAX_BYTES,
    MEMBER,
    NODE,
    OPERATOR,
    OTHER,
    PLUGIN,
    SERVICE,
    SpiffeId,
    check_pattern,
    check_trust_domain,
    matches,
)

CHECKOUT = "spiffe://example.org/ns/default/svc/checkout"
domains = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1, max_size=40)
segments = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=20).filter(
    lambda segment: segment not in (".", "..")
)
identities = st.builds(SpiffeId, domains, st.lists(segments, max_size=6).map(tuple))


@pytest.mark.parametrize(
    ("text", "kind", "service_name", "dns_name"),
    [
        (CHECKOUT, SERVICE, "namespaces/default/services/checkout", "checkout.default.example.org"),
        ("spiffe://example.org/member/m1", MEMBER, "", "kernel.example.org"),
        ("spiffe://example.org/node/gpu-1", NODE, "", ""),
        ("spiffe://example.org/operator/ann", OPERATOR, "", ""),
        ("spiffe://example.org/plugin/p", PLUGIN, "", ""),
        ("spiffe://example.org", OTHER, "", ""),
        ("spiffe://example.org/node", OTHER, "", ""),
        ("spiffe://example.org/node/a/b", OTHER, "", ""),
        ("spiffe://example.org/ns/Default/svc/checkout", OTHER, "", ""),
        ("spiffe://example.org/ns/default/svc/check_out", OTHER, "", ""),
        ("spiffe://example.org/ns/default/svc", OTHER, "", ""),
        ("spiffe://example.org/ns/default/job/checkout", OTHER, "", ""),
        ("spiffe://example.org/sa/checkout", OTHER, "", ""),
    ],
)
def test_what_an_id_means(text: str, kind: str, service_name: str, dns_name: str) -> None:
    identity = SpiffeId.parse(text)
    assert str(identity) == text
    assert (identity.kind, identity.service_name, identity.dns_name) == (kind, service_name, dns_name)
    assert identity.path == text.removeprefix("spiffe://example.org").removeprefix("/")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "does not begin with spiffe://"),
        ("https://example.org/a", "does not begin with spiffe://"),
        ("SPIFFE://example.org/a", "does not begin with spiffe://"),
        ("spiffe://", "is no trust domain"),
        ("spiffe:///a", "is no trust domain"),
        ("spiffe://Example.org/a", "is no trust domain"),
        ("spiffe://example.org:443/a", "is no trust domain"),
        ("spiffe://ann@example.org/a", "is no trust domain"),
        ("spiffe://example.org\n/a", "is no trust domain"),
        ("spiffe://" + "a" * 256, "is no trust domain"),
        ("spiffe://example.org/", "has a segment that is empty"),
        ("spiffe://example.org/a/", "has a segment that is empty"),
        ("spiffe://example.org//a", "has a segment that is empty"),
        ("spiffe://example.org/./a", "a dot"),
        ("spiffe://example.org/a/..", "a dot"),
        ("spiffe://example.org/a%20b", "not of A-Z"),
        ("spiffe://example.org/a?b=c", "not of A-Z"),
        ("spiffe://example.org/a#b", "not of A-Z"),
        ("spiffe://example.org/ä", "not of A-Z"),
        ("spiffe://example.org/a\n", "not of A-Z"),
        ("spiffe://example.org/*", "not of A-Z"),
        ("spiffe://example.org/" + "a" * MAX_BYTES, f"at most {MAX_BYTES} bytes"),
    ],
)
def test_what_is_no_id(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        SpiffeId.parse(text)


def test_the_longest_id() -> None:
    text = "spiffe://example.org/"
    text += "a" * (MAX_BYTES - len(text))
    assert str(SpiffeId.parse(text)) == text


@given(identities)
def test_what_is_written_is_read(identity: SpiffeId) -> None:
    assert SpiffeId.parse(str(identity)) == identity
    assert str(TheirSpiffeId(str(identity))) == str(identity)


@given(st.one_of(st.text(), st.text("spife:/._-*aA1ä%", max_size=30).map("spiffe://{}".format)))
def test_another_implementation_reads_no_less(text: str) -> None:
    try:
        identity = SpiffeId.parse(text)
    except ValueError:
        return
    assert str(TheirSpiffeId(text)) == str(identity) == text


@given(domains)
def test_a_trust_domain(name: str) -> None:
    assert check_trust_domain(name) == name


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "a" * 256, "a\n", "spiffe://a"])
def test_what_is_no_trust_domain(name: str) -> None:
    with pytest.raises(ValueError, match="is no trust domain: 1 to 255 of a-z"):
        check_trust_domain(name)


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        (CHECKOUT, True),
        ("spiffe://example.org/ns/*/svc/checkout", True),
        ("spiffe://example.org/*/*/*/*", True),
        ("spiffe://example.org/ns/default/svc/*", True),
        ("spiffe://example.org/ns/default/svc", False),
        ("spiffe://example.org/ns/default/svc/checkout/*", False),
        ("spiffe://example.org/*", False),
        ("spiffe://example.com/ns/default/svc/checkout", False),
        ("spiffe://example.org/ns/default/svc/Checkout", False),
    ],
)
def test_a_pattern(pattern: str, covered: bool) -> None:
    assert check_pattern(pattern) == pattern
    assert matches(pattern, SpiffeId.parse(CHECKOUT)) is covered


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        ("spiffe://example.org", "must have a path"),
        ("spiffe://*/a", "is no trust domain"),
        ("spiffe://example.org/a*", "not of A-Z"),
        ("spiffe://example.org/**", "not of A-Z"),
        ("spiffe://example.org/a/", "empty"),
        ("*", "does not begin"),
    ],
)
def test_what_is_no_pattern(pattern: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        check_pattern(pattern)


@given(identities, st.data())
def test_a_pattern_covers_what_it_was_made_of(identity: SpiffeId, data: st.DataObject) -> None:
    kept = [data.draw(st.sampled_from((segment, ANY))) for segment in identity.segments]
    pattern = "/".join((f"spiffe://{identity.trust_domain}", *kept))
    assert matches(pattern, identity)
    assert not matches(pattern, SpiffeId(identity.trust_domain, (*identity.segments, "more")))
    assert not matches(pattern, SpiffeId(identity.trust_domain + "x", identity.segments))


@given(identities, identities)
def test_an_id_as_a_pattern_covers_itself_only(one: SpiffeId, other: SpiffeId) -> None:
    assert matches(str(one), other) is (one == other)
