from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from sira.identity.v1.trust_bundle_pb2 import JwtAuthority, TrustBundle
from spiffe import JwtBundle, TrustDomain, X509Bundle

from sira_grpc.svid.bundle_document import JWT, MAX_BYTES, MAX_KEYS, X509, jwt_keys, read, write
from sira_grpc.svid.jwt_svid import PublicKey, public_der, sign, verify
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.svid.x509_svid import to_der
from tests.unit.svid.authority import IDENTITY, NOW, Authority

# What is tried on purpose here: numbers that a certificate must not have.
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")

ROOT = Authority()
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def bundle(*roots: Authority, sequence: int = 7, refresh: int = 300, **keys: PublicKey) -> TrustBundle:
    return TrustBundle(
        trust_domain="a.test",
        x509_authorities=[to_der(root.certificate) for root in roots or (ROOT,)],
        jwt_authorities=[JwtAuthority(key_id=name, public_key=public_der(key)) for name, key in keys.items()],
        sequence=sequence,
        refresh_hint=Duration(seconds=refresh),
    )


BUNDLE = bundle(
    ROOT,
    Authority("second", key=RSA_KEY),
    Authority("third", key=ec.generate_private_key(ec.SECP384R1())),
    k1=EC_KEY.public_key(),
    k2=RSA_KEY.public_key(),
    k3=ec.generate_private_key(ec.SECP384R1()).public_key(),
    k4=ec.generate_private_key(ec.SECP521R1()).public_key(),
)


def document(**changes: Any) -> dict[str, Any]:
    """The document of a bundle with a root and a key, some of it changed; None takes a member away."""
    data: dict[str, Any] = json.loads(write(bundle(k1=EC_KEY.public_key()))) | changes
    return {name: value for name, value in data.items() if value is not None}


def with_key(use: str, **changes: Any) -> bytes:
    """A document of which the key with this use is changed; None takes a member away."""
    data = document()
    for key in data["keys"]:
        if key["use"] == use:
            key.update(changes)
            for name in [name for name, value in changes.items() if value is None]:
                del key[name]
    return json.dumps(data).encode()


def test_what_is_written_is_read() -> None:
    assert read("a.test", write(BUNDLE)) == BUNDLE


@given(st.integers(0, 2**63 - 1), st.integers(0, 86_400 * 365 - 1))
def test_every_sequence_and_hint(sequence: int, refresh: int) -> None:
    made = bundle(sequence=sequence, refresh=refresh)
    assert read("a.test", write(made)) == made


def test_what_a_document_looks_like() -> None:
    data = json.loads(write(bundle(k1=EC_KEY.public_key())))
    assert (data["spiffe_sequence"], data["spiffe_refresh_hint"]) == (7, 300)
    root, key = data["keys"]
    assert sorted(root) == ["crv", "kty", "use", "x", "x5c", "y"]
    assert (root["use"], base64.b64decode(root["x5c"][0])) == (X509, to_der(ROOT.certificate))
    assert sorted(key) == ["crv", "kid", "kty", "use", "x", "y"]
    assert (key["use"], key["kid"], key["kty"], key["crv"]) == (JWT, "k1", "EC", "P-256")


def test_another_implementation_reads_the_certificates() -> None:
    keys = json.loads(write(BUNDLE, uses=(X509,)))["keys"]
    certificates = b"".join(base64.b64decode(key["x5c"][0]) for key in keys)
    theirs = X509Bundle.parse_raw(TrustDomain("a.test"), certificates)
    assert {to_der(one) for one in theirs.x509_authorities} == set(BUNDLE.x509_authorities)


def test_another_implementation_reads_the_keys() -> None:
    theirs = JwtBundle.parse(TrustDomain("a.test"), write(BUNDLE, uses=(JWT,)))
    assert theirs.jwt_authorities == dict(jwt_keys(BUNDLE))
    assert sorted(theirs.jwt_authorities) == ["k1", "k2", "k3", "k4"]


def test_tokens_are_verified_with_what_was_read() -> None:
    identity = SpiffeId.parse(IDENTITY)
    token = sign(EC_KEY, "k1", identity, ["x"], now=NOW, ttl=60)
    keys = {"a.test": dict(jwt_keys(read("a.test", write(BUNDLE))))}
    assert verify(token, keys, audience="x", now=NOW).identity == identity


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()])
def test_roots_of_edwards_curves(key: Any) -> None:
    made = bundle()
    made.x509_authorities.append(root_with(key))
    assert read("a.test", write(made)) == made


def root_with(key: Any) -> bytes:
    """A root that is for any kind of key. Nobody verifies its signature when the bundle is read."""
    return to_der(ROOT.sign(key.public_key(), ca=True))


@pytest.mark.parametrize("key", [dsa.generate_private_key(2048), ec.generate_private_key(ec.BrainpoolP256R1())])
def test_a_root_of_a_kind_that_has_no_jwk(key: Any) -> None:
    made = bundle()
    made.x509_authorities.append(root_with(key))
    with pytest.raises(ValueError, match="no JWK"):
        write(made)
    with pytest.raises(ValueError, match="unknown kind of key"):
        read("a.test", with_key(X509, x5c=[base64.b64encode(root_with(key)).decode()]))


def test_keys_of_other_uses_are_skipped() -> None:
    data = document()
    data["keys"] += [{"use": "sig", "kty": "?"}, {"kid": "x"}, {"use": None}, {"use": [X509]}, {}]
    data["more"] = {"nested": []}
    assert read("a.test", json.dumps(data).encode()) == bundle(k1=EC_KEY.public_key())


def test_sequence_and_hint_may_be_missing() -> None:
    made = read("a.test", json.dumps(document(spiffe_sequence=None, spiffe_refresh_hint=None)).encode())
    assert (made.sequence, made.refresh_hint.seconds) == (0, 0)


MALFORMED: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "must be JSON"),
    "no JSON": (b"<html>", "must be JSON"),
    "half of it": (write(BUNDLE)[:-1], "must be JSON"),
    "no text": (b"\xff\xfe\xfd", "must be JSON"),
    "deeply nested": (b"[" * 100_000 + b"]" * 100_000, "must be JSON"),
    "deeply nested objects": (b'{"keys":' * 20_000 + b"1" + b"}" * 20_000, "must be JSON"),
    "a list": ([], "must be a JWK set"),
    "a number": (5, "must be a JWK set"),
    "no keys": ({}, "must be a JWK set"),
    "keys that are none": ({"keys": {}}, "must be a JWK set"),
    "a key that is none": (document(keys=["x"]), "must be a JWK set"),
    "too many keys": (document(keys=[{}] * (MAX_KEYS + 1)), f"at most {MAX_KEYS} keys"),
    "an empty set": (document(keys=[]), f"must hold a key with the use {X509}"),
    "only keys of tokens": (write(BUNDLE, uses=(JWT,)), f"must hold a key with the use {X509}"),
    "a sequence below zero": (document(spiffe_sequence=-1), "spiffe_sequence must be a whole number"),
    "a sequence that is too large": (document(spiffe_sequence=2**63), "spiffe_sequence must be a whole number"),
    "a sequence of text": (document(spiffe_sequence="7"), "spiffe_sequence must be a whole number"),
    "a sequence with a fraction": (document(spiffe_sequence=7.5), "spiffe_sequence must be a whole number"),
    "a sequence that is no number": (document(spiffe_sequence=float("nan")), "spiffe_sequence must be a whole"),
    "a sequence that is a truth": (document(spiffe_sequence=True), "spiffe_sequence must be a whole number"),
    "a hint that never ends": (document(spiffe_refresh_hint=2**40), "spiffe_refresh_hint must be a whole number"),
    "a number without end": (b'{"keys":[],"spiffe_sequence":' + b"9" * 50_000 + b"}", "must be JSON|whole number"),
    "no certificate": (with_key(X509, x5c=None), "must have one certificate in x5c"),
    "an empty chain": (with_key(X509, x5c=[]), "must have one certificate in x5c"),
    "a chain of two": (with_key(X509, x5c=["AA", "AA"]), "must have one certificate in x5c"),
    "a chain of numbers": (with_key(X509, x5c=[5]), "must have one certificate in x5c"),
    "a chain that is text": (with_key(X509, x5c="AA"), "must have one certificate in x5c"),
    "a certificate that is no base64": (with_key(X509, x5c=["AA AA"]), "must have a DER certificate, base64"),
    "a certificate that is not ASCII": (with_key(X509, x5c=["ä"]), "must have a DER certificate, base64"),
    "a certificate that is none": (with_key(X509, x5c=["AAAA"]), "must have a DER certificate, base64"),
    "a certificate of no version": (
        with_key(
            X509,
            x5c=[
                base64.b64encode(
                    to_der(ROOT.certificate).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x63")
                ).decode()
            ],
        ),
        "must have a DER certificate",
    ),
    "a key without an id": (with_key(JWT, kid=None), "must have a kid of 1 to 256 characters"),
    "an empty id": (with_key(JWT, kid=""), "must have a kid"),
    "an id that is too long": (with_key(JWT, kid="x" * 257), "must have a kid"),
    "an id that is a number": (with_key(JWT, kid=5), "must have a kid"),
    "an id that is no text": (with_key(JWT, kid="\ud800"), "is neither an elliptic"),
    "no kind of key": (with_key(JWT, kty=None), "'k1' is neither an elliptic"),
    "a secret key": (with_key(JWT, kty="oct", k="AAAA"), "is neither an elliptic"),
    "a key of a kind that is no text": (with_key(JWT, kty=["EC"]), "is neither an elliptic"),
    "a key of an Edwards curve": (with_key(JWT, kty="OKP", crv="Ed25519"), "is neither an elliptic"),
    "another curve": (with_key(JWT, crv="P-384"), "is neither an elliptic"),
    "a point that is not on the curve": (with_key(JWT, x="A" * 43), "is neither an elliptic"),
    "a point that is a number": (with_key(JWT, x=5), "is neither an elliptic"),
    "a point that is missing": (with_key(JWT, y=None), "is neither an elliptic"),
    "a private key": (with_key(JWT, d="AAAA"), "'k1' is a private key"),
    "an RSA key without its numbers": (with_key(JWT, kty="RSA"), "is neither an elliptic"),
    "an RSA key of zero": (with_key(JWT, kty="RSA", n="AA", e="AQAB"), "is neither an elliptic"),
    "an RSA key that is too short": (with_key(JWT, kty="RSA", n="_" * 171, e="AQAB"), "of 2,048 bits or more"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_document(case: str) -> None:
    data, rule = MALFORMED[case]
    with pytest.raises(ValueError, match=rule):
        read("a.test", data if isinstance(data, bytes) else json.dumps(data).encode())


def test_a_document_that_is_too_long() -> None:
    data = write(BUNDLE)
    assert read("a.test", data + b" " * (MAX_BYTES - len(data))) == BUNDLE
    with pytest.raises(ValueError, match=f"must be at most {MAX_BYTES} bytes"):
        read("a.test", data + b" " * (MAX_BYTES + 1 - len(data)))


def test_a_private_key_is_not_taken_apart() -> None:
    """To find the primes of a hostile one takes for ever, and blocks everybody."""
    large = base64.urlsafe_b64encode(b"\xff" * 60_000).decode().rstrip("=")
    began = time.monotonic()
    with pytest.raises(ValueError, match="is a private key"):
        read("a.test", with_key(JWT, kty="RSA", n=large, e="AQAB", d=large))
    assert time.monotonic() - began < 5


def test_a_trust_domain_that_is_none() -> None:
    with pytest.raises(ValueError, match="is no trust domain"):
        read("A.test", write(BUNDLE))


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="replace")))
def test_garbage_is_no_document(data: bytes) -> None:
    with pytest.raises(ValueError, match="must"):
        read("a.test", data)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=100),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MEMBERS = {
    "use": st.sampled_from((X509, JWT)),
    "kty": st.sampled_from(("EC", "RSA", "OKP", "oct")),
    "crv": st.sampled_from(("P-256", "P-384", "P-521", "secp256k1", "Ed25519")),
    "kid": st.text(min_size=1),
    "alg": st.sampled_from(("ES256", "HS256", "none")),
    "x5c": st.lists(st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode()), max_size=2),
    **{
        name: st.binary(max_size=300).map(lambda data: base64.urlsafe_b64encode(data).decode())
        for name in ("x", "y", "n", "e", "d", "k")
    },
}
keys = st.fixed_dictionaries({}, optional={name: usual | values for name, usual in MEMBERS.items()})


@given(st.lists(keys, max_size=3), values, values)
def test_keys_of_any_kind(some: list[dict[str, Any]], sequence: Any, hint: Any) -> None:
    """What is read can be written, and is the same; all else is a ValueError."""
    genuine = document()["keys"]
    data = json.dumps({"keys": genuine + some, "spiffe_sequence": sequence, "spiffe_refresh_hint": hint}).encode()
    for text in (data, json.dumps({"keys": genuine + some}).encode()):
        try:
            made = read("a.test", text)
        except ValueError:
            continue
        assert read("a.test", write(made)) == made
        assert [key_id for key_id, _ in jwt_keys(made)] == [authority.key_id for authority in made.jwt_authorities]


@given(st.integers(0, len(to_der(ROOT.certificate)) - 1), st.integers(0, 255))
def test_a_damaged_certificate(place: int, value: int) -> None:
    der = bytearray(to_der(ROOT.certificate))
    der[place] = value
    try:
        made = read("a.test", with_key(X509, x5c=[base64.b64encode(der).decode()]))
    except ValueError:
        return
    assert x509.load_der_x509_certificate(made.x509_authorities[0]).public_bytes(serialization.Encoding.DER) == der
    write(made)
