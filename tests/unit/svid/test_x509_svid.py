from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from spiffe import X509Svid as TheirX509Svid

from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.svid.x509_svid import (
    MAX_DEPTH,
    SvidError,
    SvidExpired,
    X509Svid,
    identity_of,
    read_der,
    read_pem,
    serial_of,
    to_der,
    to_pem,
    verify,
)
from tests.unit.svid.authority import CERTIFICATES, IDENTITY, LIFETIME, NOW, SIGNATURE, Authority, Issued

# What is tried on purpose here: numbers that a certificate must not have.
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")

ROOT = Authority()
INTERMEDIATE = Authority("intermediate", issuer=ROOT, path_length=0)
OTHER = Authority("other root")


def check(
    issued: Issued, *intermediates: Authority, roots: tuple[Authority, ...] = (ROOT,), now: float = NOW
) -> X509Svid:
    """Verifies a certificate where a.test and b.test are known, each with roots of its own."""
    known = {"a.test": [root.certificate for root in roots], "b.test": [OTHER.certificate]}
    return verify(issued.certificate, [one.certificate for one in intermediates], known, now=now)


def test_what_a_certificate_says() -> None:
    issued = INTERMEDIATE.issue()
    svid = check(issued, INTERMEDIATE)
    assert svid == X509Svid(SpiffeId.parse(IDENTITY), serial_of(issued.certificate), NOW - 60, NOW + LIFETIME)
    assert int(svid.serial, 16) == issued.certificate.serial_number


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_kinds_of_keys(key: Any) -> None:
    assert str(check(ROOT.issue(key=key)).identity) == IDENTITY
    authority = Authority(key=key)
    assert str(check(authority.issue(), roots=(authority,)).identity) == IDENTITY


def test_one_root_of_several_is_enough() -> None:
    assert str(check(ROOT.issue(), roots=(OTHER, ROOT)).identity) == IDENTITY


def test_both_uses_of_tls_may_be_named() -> None:
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    assert str(check(ROOT.issue(extensions=(uses,))).identity) == IDENTITY


@pytest.mark.parametrize("now", [NOW - 60, NOW, NOW + LIFETIME])
def test_it_holds_from_its_first_second_to_its_last(now: int) -> None:
    assert str(check(ROOT.issue(), now=now).identity) == IDENTITY


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (NOW + LIFETIME + 1, f"the certificate of {IDENTITY} expired 1 s ago"),
        (NOW - 61, f"the certificate of {IDENTITY} is valid only in 1 s"),
    ],
)
def test_it_holds_neither_before_nor_after(now: int, why: str) -> None:
    with pytest.raises(SvidExpired, match=why):
        check(ROOT.issue(), now=now)


def test_an_intermediate_must_hold_too() -> None:
    brief = Authority("brief", issuer=ROOT, end=10)
    issued = brief.issue()
    check(issued, brief, now=NOW + 10)
    with pytest.raises(SvidError, match=r"no root of a.test vouches"):
        check(issued, brief, now=NOW + 11)


NOT_VOUCHED: dict[str, Callable[[], tuple[Issued, tuple[Authority, ...]]]] = {
    "another root": lambda: (OTHER.issue(), ()),
    "another root of the same name": lambda: (Authority("root").issue(), ()),
    "another root of the same name, sent along": lambda: ((fake := Authority("root")).issue(), (fake,)),
    "self-signed": lambda: ((lone := Authority("lone")).issue(key=lone.key), ()),
    "the intermediate is missing": lambda: (INTERMEDIATE.issue(), ()),
    "another intermediate": lambda: (INTERMEDIATE.issue(), (Authority("intermediate", issuer=ROOT),)),
    "an intermediate of another root": lambda: ((alien := Authority("alien", issuer=OTHER)).issue(), (alien,)),
    "an intermediate that is no authority": lambda: (
        (leaf := Authority("leaf", issuer=ROOT, ca=False)).issue(),
        (leaf,),
    ),
    "an intermediate that says nothing of being one": lambda: (
        (leaf := Authority("leaf", issuer=ROOT, ca=None)).issue(),
        (leaf,),
    ),
    "an intermediate that must not sign certificates": lambda: (
        (leaf := Authority("leaf", issuer=ROOT, uses=(SIGNATURE,))).issue(),
        (leaf,),
    ),
    "an intermediate below one that allows none": lambda: (
        (deeper := Authority("deeper", issuer=INTERMEDIATE)).issue(),
        (deeper, INTERMEDIATE),
    ),
    "a use that is not that of a client": lambda: (
        ROOT.issue(extensions=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]),)),
        (),
    ),
}


@pytest.mark.parametrize("case", NOT_VOUCHED)
def test_nobody_vouches_for_it(case: str) -> None:
    issued, intermediates = NOT_VOUCHED[case]()
    with pytest.raises(SvidError, match=f"no root of a.test vouches for the certificate of {IDENTITY}"):
        check(issued, *intermediates)


def test_a_root_vouches_for_no_identity_of_another_trust_domain() -> None:
    with pytest.raises(SvidError, match=r"no root of b.test vouches"):
        check(ROOT.issue("spiffe://b.test/ns/default/svc/checkout"))
    with pytest.raises(SvidError, match=r"no root of a.test vouches"):
        check(OTHER.issue(IDENTITY))
    assert check(OTHER.issue("spiffe://b.test/x")).identity == SpiffeId("b.test", ("x",))


def test_a_trust_domain_that_is_not_known() -> None:
    with pytest.raises(SvidError, match=r"the trust domain 'c\.test' is not known here"):
        check(ROOT.issue("spiffe://c.test/x"))
    with pytest.raises(SvidError, match="not known here"):
        check(ROOT.issue(), roots=())


def test_how_long_a_chain_may_be() -> None:
    chain = [ROOT]
    for depth in range(MAX_DEPTH + 1):
        chain.append(Authority(f"intermediate {depth}", issuer=chain[-1]))
    assert str(check(chain[-2].issue(), *chain[1:-1]).identity) == IDENTITY
    with pytest.raises(SvidError, match=r"no root of a.test vouches"):
        check(chain[-1].issue(), *chain[1:])


NO_SVID: dict[str, tuple[str, Callable[[], x509.Certificate]]] = {
    "no names": ("no subject alternative name", lambda: ROOT.sign(OTHER.key.public_key())),
    "no URI": (
        "must have one URI name, its SPIFFE ID, and has 0",
        lambda: ROOT.sign(OTHER.key.public_key(), names=[x509.DNSName("checkout.a.test")]),
    ),
    "two URIs": (
        "must have one URI name, its SPIFFE ID, and has 2",
        lambda: ROOT.issue(IDENTITY, "spiffe://a.test/x").certificate,
    ),
    "the same URI twice": ("and has 2", lambda: ROOT.issue(IDENTITY, IDENTITY).certificate),
    "another URI": ("does not begin with spiffe://", lambda: ROOT.issue("https://a.test/x").certificate),
    "an id that is none": ("is no trust domain", lambda: ROOT.issue("spiffe://A.test/x").certificate),
    "an authority": ("is an authority's, not a leaf", lambda: ROOT.issue(ca=True).certificate),
    "an authority's id": (
        "is an authority's, not a leaf",
        lambda: ROOT.issue("spiffe://a.test", ca=True, uses=(CERTIFICATES,)).certificate,
    ),
    "no key usage": ("does not say what its key is used for", lambda: ROOT.issue(uses=None).certificate),
    "no signatures": ("must be used for digital signatures", lambda: ROOT.issue(uses=("key_agreement",)).certificate),
    "signs certificates": (
        "and not to sign certificates",
        lambda: ROOT.issue(uses=(SIGNATURE, CERTIFICATES)).certificate,
    ),
    "signs revocations": ("and not to sign", lambda: ROOT.issue(uses=(SIGNATURE, "crl_sign")).certificate),
}


@pytest.mark.parametrize("case", NO_SVID)
def test_what_is_no_svid(case: str) -> None:
    why, make = NO_SVID[case]
    certificate = make()
    with pytest.raises(SvidError, match=why) as caught:
        identity_of(certificate)
    assert not isinstance(caught.value, SvidExpired)
    with pytest.raises(SvidError, match=why):
        verify(certificate, [], {"a.test": [ROOT.certificate]}, now=NOW)


def test_a_leaf_needs_no_basic_constraints() -> None:
    assert str(check(ROOT.issue(ca=None)).identity) == IDENTITY


def test_pem_and_der() -> None:
    chain = [INTERMEDIATE.issue().certificate, INTERMEDIATE.certificate]
    assert read_pem(to_pem(chain)) == chain
    assert read_der(to_der(chain[0])) == chain[0]


@pytest.mark.parametrize("data", [b"", b"garbage", to_pem([ROOT.certificate])[:-40]])
def test_what_is_no_pem(data: bytes) -> None:
    with pytest.raises(SvidError, match="is no PEM certificate"):
        read_pem(data)


@pytest.mark.parametrize("data", [b"", b"garbage", to_der(ROOT.certificate)[:-1], to_der(ROOT.certificate) + b"x"])
def test_what_is_no_der(data: bytes) -> None:
    with pytest.raises(SvidError, match="is no DER certificate"):
        read_der(data)


def test_another_implementation_reads_it() -> None:
    issued = INTERMEDIATE.issue()
    theirs = TheirX509Svid.parse(to_pem([issued.certificate, INTERMEDIATE.certificate]), issued.key_pem)
    assert str(theirs.spiffe_id) == IDENTITY


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """A few bytes are replaced by others."""
    places = st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255))

    def damage(changes: list[tuple[int, int]]) -> bytes:
        changed = bytearray(data)
        for place, value in changes:
            changed[place] = value
        return bytes(changed)

    return st.lists(places, min_size=1, max_size=4).map(damage)


LEAF = INTERMEDIATE.issue().certificate


@given(damaged(to_der(LEAF)))
def test_a_damaged_certificate_does_not_count(data: bytes) -> None:
    if data == to_der(LEAF):
        return
    with pytest.raises(SvidError):
        verify(read_der(data), [INTERMEDIATE.certificate], {"a.test": [ROOT.certificate]}, now=NOW)


@given(damaged(to_der(INTERMEDIATE.certificate)), damaged(to_der(ROOT.certificate)))
def test_damaged_authorities_raise_nothing_else(intermediate: bytes, root: bytes) -> None:
    for between, above in ((intermediate, to_der(ROOT.certificate)), (to_der(INTERMEDIATE.certificate), root)):
        with suppress(SvidError):
            verify(LEAF, [read_der(between)], {"a.test": [read_der(above)]}, now=NOW)


@pytest.mark.parametrize(
    ("genuine", "forged"),
    [
        # The version, 3, becomes one that there is not.
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x63"),
        # The URI becomes a kind of name that nobody reads: an X.400 address.
        (b"\x86" + bytes([len(IDENTITY)]) + IDENTITY.encode(), b"\xa3" + bytes([len(IDENTITY)]) + IDENTITY.encode()),
        # Basic constraints become a second key usage.
        (b"\x06\x03\x55\x1d\x13", b"\x06\x03\x55\x1d\x0f"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_ours(genuine: bytes, forged: bytes) -> None:
    data = to_der(LEAF)
    assert data.count(genuine) == 1
    with pytest.raises(SvidError):
        identity_of(read_der(data.replace(genuine, forged)))
