from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.svid.signing_request import MAX_BYTES, MAX_DNS_NAMES, SigningRequest, make, read, request
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.unit.svid.authority import IDENTITY

CHECKOUT = SpiffeId.parse(IDENTITY)
KEY = ec.generate_private_key(ec.SECP256R1())
URI = x509.UniformResourceIdentifier(IDENTITY)


def asked(names: Sequence[x509.GeneralName] = (URI,), key: Any = KEY, **more: Any) -> bytes:
    """A request for these names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm, **more).public_bytes(serialization.Encoding.DER)


def test_what_is_made_is_read() -> None:
    key, data = make(CHECKOUT, ["checkout.test", "Checkout.test", "other.test"])
    assert read(data) == SigningRequest(CHECKOUT, ("checkout.test", "other.test"), key.public_key())
    assert read(request(KEY, CHECKOUT)) == SigningRequest(CHECKOUT, (), KEY.public_key())


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        rsa.generate_private_key(65537, 4096),
    ],
)
def test_keys_that_are_good_enough(key: Any) -> None:
    assert read(asked(key=key)).public_key == key.public_key()


def test_a_signature_with_pss() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    assert read(asked(key=key, rsa_padding=pss)).identity == CHECKOUT


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 1024),
        ed25519.Ed25519PrivateKey.generate(),
    ],
)
def test_keys_that_are_not(key: Any) -> None:
    with pytest.raises(ValueError, match="must have a key of ECDSA P-256 or P-384, or of RSA with 2,048 to 4,096 bits"):
        read(asked(key=key))


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        ([], "must ask for a subject alternative name: a URI, the SPIFFE ID"),
        ([x509.DNSName("a.test")], "must ask for one URI name, the SPIFFE ID, and asks for 0"),
        ([URI, URI], "must ask for one URI name, the SPIFFE ID, and asks for 2"),
        ([x509.UniformResourceIdentifier("https://a.test")], "does not begin with spiffe://"),
        ([x509.UniformResourceIdentifier("spiffe://a.test")], "must ask for a SPIFFE ID with a path"),
        (
            [URI, *(x509.DNSName(f"n{index}.test") for index in range(MAX_DNS_NAMES + 1))],
            f"must ask for at most {MAX_DNS_NAMES} DNS names",
        ),
    ],
)
def test_what_must_not_be_asked_for(names: Sequence[x509.GeneralName], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        read(asked(names))


def test_as_many_names_as_there_may_be() -> None:
    wanted = tuple(f"n{index}.test" for index in range(MAX_DNS_NAMES))
    assert read(request(KEY, CHECKOUT, wanted)).dns_names == wanted


@pytest.mark.parametrize("data", [b"", b"garbage", asked()[:-1], asked() + b"x"])
def test_what_is_no_request(data: bytes) -> None:
    with pytest.raises(ValueError, match="is no PKCS #10 certificate signing request in DER"):
        read(data)


def test_a_request_that_is_too_long() -> None:
    names = [URI, *(x509.DNSName("a" * 60 + ".test") for _ in range(200))]
    with pytest.raises(ValueError, match=f"must be at most {MAX_BYTES} bytes"):
        read(asked(names))


def test_it_must_be_signed_by_its_own_key() -> None:
    """Who asks must hold the private key: else one could be named in a certificate for another's."""
    mine, others = asked(key=KEY), ec.generate_private_key(ec.SECP256R1())

    def point(key: ec.EllipticCurvePrivateKey) -> bytes:
        form = serialization.PublicFormat.UncompressedPoint
        return key.public_key().public_bytes(serialization.Encoding.X962, form)

    assert mine.count(point(KEY)) == 1
    with pytest.raises(ValueError, match="must be signed by the key that it is for"):
        read(mine.replace(point(KEY), point(others)))


def test_it_must_be_as_it_was_signed() -> None:
    data = asked()
    with pytest.raises(ValueError, match="must be signed by the key that it is for"):
        read(data.replace(b"checkout", b"payments"))


def test_a_signature_of_a_kind_that_nobody_knows() -> None:
    sha256, unknown = bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d040309")
    with pytest.raises(ValueError, match="must be signed by the key that it is for"):
        read(asked().replace(sha256, unknown))


@pytest.mark.parametrize(
    ("genuine", "forged"),
    [
        # The version, 1, becomes one that there is not.
        (b"\x02\x01\x00\x30\x00", b"\x02\x01\x63\x30\x00"),
        # The URI becomes a kind of name that nobody reads: an X.400 address.
        (b"\x86" + bytes([len(IDENTITY)]) + IDENTITY.encode(), b"\xa3" + bytes([len(IDENTITY)]) + IDENTITY.encode()),
    ],
)
def test_what_cannot_be_read_is_a_value_error(genuine: bytes, forged: bytes) -> None:
    data = asked()
    assert data.count(genuine) == 1
    with pytest.raises(ValueError, match="is no PKCS #10"):
        read(data.replace(genuine, forged))


REQUEST = asked()


@given(st.integers(0, len(REQUEST) - 1), st.integers(1, 255))
def test_a_damaged_request_is_refused(place: int, change: int) -> None:
    data = bytearray(REQUEST)
    data[place] ^= change
    with pytest.raises(ValueError, match=r"must|is no|has|begin"):
        read(bytes(data))


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is no PKCS #10"):
        read(data)
