from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from spiffe import JwtSvid as TheirJwtSvid

from sira_grpc.svid.jwt_svid import MAX_BYTES, PublicKey, public_der, read_public_der, sign, verify
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.svid.x509_svid import SvidError, SvidExpired
from tests.unit.svid.authority import IDENTITY, NOW

CHECKOUT = SpiffeId.parse(IDENTITY)
KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
KEYS: Mapping[str, Mapping[str, PublicKey]] = {
    "a.test": {"k1": KEY.public_key(), "r1": RSA_KEY.public_key()},
    "b.test": {"k1": OTHER_KEY.public_key(), "k2": OTHER_KEY.public_key()},
}
CLAIMS = {"sub": IDENTITY, "aud": ["payments"], "iat": NOW, "exp": NOW + 300}


def part(content: Any) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims: Mapping[str, Any], key: Any = KEY, algorithm: str = "ES256", **headers: Any) -> str:
    return jwt.encode(dict(claims), key, algorithm, headers={"kid": "k1"} | headers)


def signed(payload: bytes) -> str:
    """A token with any payload, signed with the true key."""
    content = f"{part({'alg': 'ES256', 'kid': 'k1'})}.{part(payload)}"
    signature = jwt.get_algorithm_by_name("ES256").sign(content.encode(), KEY)
    return f"{content}.{part(signature)}"


def check(text: str, *, now: float = NOW, audience: str = "payments", leeway: float = 0) -> SpiffeId:
    return verify(text, KEYS, audience=audience, now=now, leeway=leeway).identity


def test_what_a_token_says() -> None:
    text = sign(KEY, "k1", CHECKOUT, ["payments", "orders"], now=NOW, ttl=300)
    svid = verify(text, KEYS, audience="orders", now=NOW)
    assert (svid.identity, svid.issued_at, svid.not_after) == (CHECKOUT, NOW, NOW + 300)
    assert svid.claims == CLAIMS | {"aud": ["payments", "orders"]}
    assert jwt.get_unverified_header(text) == {"alg": "ES256", "kid": "k1", "typ": "JWT"}


def test_another_implementation_reads_it() -> None:
    text = sign(KEY, "k1", CHECKOUT, ["payments"], now=NOW, ttl=300)
    theirs = TheirJwtSvid.parse_insecure(text, {"payments"})
    assert str(theirs.spiffe_id) == IDENTITY


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_tokens_of_rsa_keys(algorithm: str) -> None:
    assert check(token(CLAIMS, RSA_KEY, algorithm, kid="r1")) == CHECKOUT


def test_one_audience_needs_no_list() -> None:
    assert check(token(CLAIMS | {"aud": "payments"})) == CHECKOUT


@pytest.mark.parametrize("type_", ["JWT", "JOSE"])
def test_types(type_: str) -> None:
    assert check(token(CLAIMS, typ=type_)) == CHECKOUT


@pytest.mark.parametrize("type_", ["at+jwt", "jwt", ""])
def test_a_token_of_another_type(type_: str) -> None:
    text = f"{part({'alg': 'ES256', 'kid': 'k1', 'typ': type_})}.{part(CLAIMS)}"
    signature = jwt.get_algorithm_by_name("ES256").sign(text.encode(), KEY)
    with pytest.raises(SvidError, match="is of another type than JWT"):
        check(f"{text}.{part(signature)}")


def test_a_token_without_a_signature() -> None:
    unsigned = f"{part({'alg': 'none', 'kid': 'k1'})}.{part(CLAIMS)}."
    for text in (unsigned, jwt.encode(CLAIMS, "", "none", headers={"kid": "k1"})):
        with pytest.raises(SvidError, match="cannot be verified"):
            check(text)


@pytest.mark.parametrize("form", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_a_token_signed_with_the_public_key_as_a_secret(form: serialization.Encoding) -> None:
    public = KEY.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
    content = f"{part({'alg': 'HS256', 'kid': 'k1'})}.{part(CLAIMS)}"
    signature = hmac.digest(public, content.encode(), hashlib.sha256)
    with pytest.raises(SvidError, match="cannot be verified"):
        check(f"{content}.{part(signature)}")


def test_a_token_that_brings_its_own_key() -> None:
    mine = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(OTHER_KEY.public_key()))
    with pytest.raises(SvidError, match="cannot be verified"):
        check(token(CLAIMS, OTHER_KEY, jwk=mine))


def test_a_token_of_another_key() -> None:
    with pytest.raises(SvidError, match="cannot be verified"):
        check(token(CLAIMS, OTHER_KEY))
    with pytest.raises(SvidError, match="cannot be verified"):
        check(token(CLAIMS, RSA_KEY, "RS256"))
    with pytest.raises(SvidError, match="cannot be verified"):
        check(token(CLAIMS, kid="r1"))


def test_a_key_vouches_for_no_identity_of_another_trust_domain() -> None:
    with pytest.raises(SvidError, match="cannot be verified"):
        check(token(CLAIMS | {"sub": "spiffe://b.test/x"}))
    with pytest.raises(SvidError, match="signed with a key that is not known here"):
        check(token(CLAIMS, OTHER_KEY, kid="k2"))
    assert str(check(token(CLAIMS | {"sub": "spiffe://b.test/x"}, OTHER_KEY))) == "spiffe://b.test/x"


@pytest.mark.parametrize("identity", ["spiffe://c.test/x", "spiffe://a.test.evil/x"])
def test_a_trust_domain_that_is_not_known(identity: str) -> None:
    with pytest.raises(SvidError, match="signed with a key that is not known here"):
        check(token(CLAIMS | {"sub": identity}))


def test_a_token_without_a_key_id() -> None:
    with pytest.raises(SvidError, match="signed with a key that is not known here"):
        check(jwt.encode(CLAIMS, KEY, "ES256"))


@pytest.mark.parametrize("audience", ["", "payment", "payments2", "orders", "PAYMENTS"])
def test_a_token_for_somebody_else(audience: str) -> None:
    with pytest.raises(SvidError, match="is not for the audience"):
        check(token(CLAIMS), audience=audience)


@pytest.mark.parametrize("audiences", [[], [5], {"payments": 1}, 5, None, [["payments"]]])
def test_an_audience_that_is_none(audiences: Any) -> None:
    with pytest.raises(SvidError, match=r"is not for the audience|cannot be verified"):
        check(signed(json.dumps(CLAIMS | {"aud": audiences}).encode()))


@pytest.mark.parametrize("claim", ["sub", "aud", "exp"])
def test_a_claim_that_is_missing(claim: str) -> None:
    with pytest.raises(SvidError, match=r"is no JWT-SVID|cannot be verified"):
        check(token({name: value for name, value in CLAIMS.items() if name != claim}))


@pytest.mark.parametrize("subject", ["", "ann", "https://a.test/x", "spiffe://A.test/x", "spiffe://a.test/a/../b"])
def test_a_subject_that_is_no_spiffe_id(subject: str) -> None:
    with pytest.raises(SvidError, match="is no JWT-SVID"):
        check(token(CLAIMS | {"sub": subject}))


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "time", ['"1800000300"', "true", "null", "[]", "{}", "NaN", "Infinity", "-Infinity", "1" * 400]
)
def test_times_that_are_no_numbers(name: str, time: str) -> None:
    """None of them may make a token that never expires."""
    payload = json.dumps(CLAIMS | {name: "?"}).replace('"?"', time)
    with pytest.raises(SvidError, match=r"times are|cannot be verified") as caught:
        check(signed(payload.encode()))
    assert not isinstance(caught.value, SvidExpired)


def test_times_may_have_fractions() -> None:
    assert check(token(CLAIMS | {"exp": NOW + 0.5})) == CHECKOUT


def test_it_expires() -> None:
    text = token(CLAIMS)
    assert check(text, now=NOW + 299.9) == CHECKOUT
    for now, ago in ((NOW + 300, 0), (NOW + 310, 10)):
        with pytest.raises(SvidExpired, match=f"the token of {IDENTITY} expired {ago} s ago"):
            check(text, now=now, leeway=60)  # which is for clocks that are ahead, and lengthens nothing


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_an_issuer_whose_clock_is_ahead(name: str) -> None:
    text = token(CLAIMS | {name: NOW + 60})
    assert check(text, leeway=60) == CHECKOUT
    with pytest.raises(SvidExpired, match=f"the token of {IDENTITY} is valid only in 60 s"):
        check(text, leeway=59)


def test_a_token_that_is_valid_later_than_issued() -> None:
    assert check(token(CLAIMS | {"iat": NOW + 60, "nbf": NOW})) == CHECKOUT


def test_when_it_was_issued_need_not_be_said() -> None:
    assert check(token({"sub": IDENTITY, "aud": "payments", "exp": NOW + 300})) == CHECKOUT


def test_a_token_that_is_too_long() -> None:
    text = token(CLAIMS | {"filler": "x" * MAX_BYTES})
    with pytest.raises(SvidError, match=f"the token is longer than {MAX_BYTES} bytes"):
        check(text)


@pytest.mark.parametrize("nesting", [b"[" * 5000 + b"]" * 5000, b'{"a":' * 2000])
def test_json_that_is_deeply_nested(nesting: bytes) -> None:
    header = part({"alg": "ES256", "kid": "k1"})
    for text in (f"{part(nesting)}.{part(CLAIMS)}.AA", f"{header}.{part(nesting)}.AA", signed(nesting)):
        with pytest.raises(SvidError, match=r"is no JWT-SVID|is longer than"):
            check(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def maybe(values: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these entries, each as it should be or anything else."""
    return st.fixed_dictionaries({}, optional={name: st.just(value) | json_values for name, value in values.items()})


@given(maybe(CLAIMS | {"nbf": NOW}))
def test_claims_of_any_kind(claims: dict[str, Any]) -> None:
    try:
        identity = check(signed(json.dumps(claims).encode()))
    except SvidError:
        return
    assert identity == CHECKOUT
    assert NOW < claims["exp"] < float("inf")


@given(
    maybe({"alg": "ES256", "kid": "k1", "typ": "JWT", "crit": ["b64"], "b64": False, "zip": "DEF"}),
    maybe(CLAIMS),
    st.binary(max_size=80),
)
def test_nothing_counts_without_its_signature(header: dict[str, Any], claims: dict[str, Any], rest: bytes) -> None:
    with pytest.raises(SvidError):
        check(f"{part(header)}.{part(claims)}.{part(rest)}")


@given(st.text() | st.text("eyJ.=-_ä\ud800", max_size=50) | st.binary(max_size=200).map(lambda data: f"{part(data)}.."))
def test_garbage_is_no_token(text: str) -> None:
    with pytest.raises(SvidError):
        check(text)


TOKEN = token(CLAIMS)


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_a_damaged_token_does_not_count(place: int, character: str) -> None:
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    try:
        assert check(changed) == CHECKOUT
    except SvidError:
        return
    # Only the signature has bits that say nothing: in its last character.
    assert changed == TOKEN or place == len(TOKEN) - 1


@pytest.mark.parametrize("key", [KEY.public_key(), RSA_KEY.public_key()])
def test_public_keys(key: PublicKey) -> None:
    assert read_public_der(public_der(key)) == key


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is no public key in DER"),
        (b"garbage", "is no public key in DER"),
        (public_der(KEY.public_key())[:-1], "is no public key in DER"),
        (
            ed25519.Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
            "is neither an elliptic nor an RSA key",
        ),
        (public_der(rsa.generate_private_key(65537, 1024).public_key()), "is an RSA key of fewer than 2048 bits"),
    ],
    ids=["empty", "garbage", "cut off", "ed25519", "short rsa"],
)
def test_what_is_no_public_key(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_public_der(data)


@given(st.binary(max_size=200))
def test_garbage_is_no_public_key(data: bytes) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_public_der(data)
