from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from sira_client.identity import der, pem

from tests.unit.client.identity.trust import CALLER, Root, to_der

ROOT = Root()
LONG = f"spiffe://example.org/{'a' * 2000}"


def leaf(root: Root, *names: x509.GeneralName) -> bytes:
    return der.split(to_der(root.identity(names=names).svid))[0]


@pytest.mark.parametrize("spiffe_id", [CALLER, LONG])
def test_the_spiffe_id_is_found(root: Root, spiffe_id: str) -> None:
    assert der.spiffe_id(leaf(root, x509.DNSName("a"), x509.UniformResourceIdentifier(spiffe_id))) == spiffe_id


@pytest.mark.parametrize(
    "names",
    [
        (),
        (x509.DNSName("a"),),
        (x509.UniformResourceIdentifier("https://example.org/"),),
        (x509.UniformResourceIdentifier(CALLER), x509.UniformResourceIdentifier(f"{CALLER}/2")),
    ],
)
def test_a_certificate_without_one_has_none(root: Root, names: tuple[x509.GeneralName, ...]) -> None:
    assert der.spiffe_id(leaf(root, *names)) == ""


def test_a_chain_is_split_into_its_certificates(root: Root) -> None:
    identity = root.identity()
    chain = to_der(identity.svid)
    parts = der.split(chain)
    assert len(parts) == 2
    assert b"".join(parts) == chain
    assert pem.read_certificates(identity.svid) == parts
    assert x509.load_pem_x509_certificates(pem.write_certificates(parts)) == [
        x509.load_der_x509_certificate(part) for part in parts
    ]


@pytest.mark.parametrize(
    "data", [b"", b"\x30", b"\x30\x05ab", b"\x02\x01\x00", b"\x30\x80", b"\x30\x85\1\1\1\1\1", b"\x3f"]
)
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is "):
        der.split(data)


@given(st.binary(max_size=200), st.integers(0, 400), st.binary(max_size=4))
def test_damage_is_a_value_error_or_goes_unnoticed(garbage: bytes, at: int, change: bytes) -> None:
    certificate = leaf(ROOT, x509.UniformResourceIdentifier(CALLER))
    damaged = certificate[:at] + change + certificate[at + len(change) :]
    for data in (garbage, damaged, certificate[:at]):
        for read in (der.split, der.spiffe_id, der.check_pkcs8):
            with suppress(ValueError):
                read(data)


@pytest.mark.parametrize("kind", ["elliptic", "rsa"])
def test_a_key_is_written_as_it_is_read(kind: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "elliptic" else rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    written = pem.write_key(key.private_bytes(serialization.Encoding.DER, *form))
    assert written == key.private_bytes(serialization.Encoding.PEM, *form)
    assert pem.check_key(written) == written


def test_a_key_of_another_form_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    traditional = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    encrypted = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    for data in (traditional, encrypted, b"\x30\x00", b""):
        with pytest.raises(ValueError, match=r"PKCS #8|DER"):
            pem.write_key(data)
