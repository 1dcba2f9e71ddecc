"""Certificates and revocation lists are as X.509 and SPIFFE want them, also in the eyes of OpenSSL."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.errors import ConfigError
from sira_grpc.identity.authority import Authority
from sira_grpc.identity.forge import Forge, Terms, general_names
from sira_grpc.identity.sealing import Sealer
from sira_grpc.svid import x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.unit.identity import openssl
from tests.unit.identity.upstream import authority as external
from tests.unit.identity.world import DOMAIN, WEB
from tests.unit.registry.world import seeded_bytes

NOW_NS = 1_800_000_000 * 10**9
DAY = 86_400
TERMS = Terms(DOMAIN, root_ttl=1000 * DAY, intermediate_ttl=30 * DAY, clock_skew=300)
RANDOM = seeded_bytes(3)
SEALER = Sealer(bytes(32), RANDOM, "here")
FORGE = Forge(TERMS, RANDOM)
AUTHORITY = FORGE.authority(SEALER, now_ns=NOW_NS)
KEY = ec.generate_private_key(ec.SECP256R1())
IDENTITY = SpiffeId.parse(WEB)


def leaf(
    *names: str, authority: Authority = AUTHORITY, identity: SpiffeId = IDENTITY, ttl: float = 3600, ahead: float = 0
) -> x509.Certificate:
    now_ns = NOW_NS + round(ahead * 10**9)
    return FORGE.leaf(authority, identity, general_names(names), KEY.public_key(), now_ns=now_ns, ttl=ttl)


def at(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(NOW_NS / 10**9 + seconds, datetime.UTC)


def usage(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert extension.critical
    value, names = extension.value, ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    return {n for n in (*names, "key_agreement", "key_cert_sign", "crl_sign") if getattr(value, n)}


def constraints(certificate: x509.Certificate) -> tuple[bool, int | None]:
    extension = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert extension.critical
    return extension.value.ca, extension.value.path_length


def alternatives(certificate: x509.Certificate) -> list[object]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [name.value for name in names]


def test_a_root_signs_one_level_of_authorities_and_lists() -> None:
    root = AUTHORITY.root
    assert constraints(root) == (True, 1)
    assert usage(root) == {"key_cert_sign", "crl_sign"}
    assert alternatives(root) == [f"spiffe://{DOMAIN}"]
    assert root.subject == root.issuer
    assert (root.not_valid_before_utc, root.not_valid_after_utc) == (at(-300), at(1000 * DAY))
    root.verify_directly_issued_by(root)


def test_an_intermediate_signs_leaves_and_lists() -> None:
    issuer = AUTHORITY.issuer
    assert constraints(issuer) == (True, 0)
    assert usage(issuer) == {"key_cert_sign", "crl_sign"}
    assert alternatives(issuer) == [f"spiffe://{DOMAIN}"]
    assert (issuer.not_valid_before_utc, issuer.not_valid_after_utc) == (at(-300), at(30 * DAY))
    issuer.verify_directly_issued_by(AUTHORITY.root)
    assert AUTHORITY.intermediates == (issuer,)


def test_a_leaf_is_for_servers_and_clients_and_signs_nothing() -> None:
    made = leaf("web.example.org", "10.1.2.3", "::1")
    assert constraints(made) == (False, None)
    assert usage(made) == {"digital_signature"}
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [WEB]
    assert names.get_values_for_type(x509.DNSName) == ["web.example.org"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.1.2.3", "::1"]
    assert (made.not_valid_before_utc, made.not_valid_after_utc) == (at(-300), at(3600))
    made.verify_directly_issued_by(AUTHORITY.issuer)


def test_keys_are_named_so_that_chains_are_found() -> None:
    for certificate, issuer in ((leaf(), AUTHORITY.issuer), (AUTHORITY.issuer, AUTHORITY.root)):
        wanted = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert wanted.key_identifier == found.digest


def test_a_leaf_does_not_outlive_its_issuer() -> None:
    last = 30 * DAY
    assert leaf(ttl=2 * DAY, ahead=last - DAY).not_valid_after_utc == at(last)
    assert leaf(ttl=60, ahead=last - 1).not_valid_after_utc == at(last)
    for ahead in (last, last + 1, last + DAY):
        with pytest.raises(ConfigError, match=r"the intermediate of authority .* expired at"):
            leaf(ahead=ahead)


def test_an_intermediate_does_not_outlive_its_root() -> None:
    assert AUTHORITY.root_key is not None
    late = NOW_NS + 990 * DAY * 10**9
    made, _ = FORGE.intermediate(AUTHORITY.id, AUTHORITY.root, AUTHORITY.root_key, now_ns=late)
    assert made.not_valid_after_utc == AUTHORITY.root.not_valid_after_utc


def test_a_renewed_authority_has_a_new_intermediate_and_all_else_as_before() -> None:
    made = FORGE.renewed(AUTHORITY, SEALER, now_ns=NOW_NS + 15 * DAY * 10**9)
    assert made.issuer.public_key() != AUTHORITY.issuer.public_key()
    assert made.issuer.subject != AUTHORITY.issuer.subject
    assert made.issuer.not_valid_after_utc == at(45 * DAY)
    assert (made.id, made.root, made.record.jwt_key_id) == (AUTHORITY.id, AUTHORITY.root, AUTHORITY.record.jwt_key_id)
    assert made.record.root_key == AUTHORITY.record.root_key
    assert made.record.intermediate_key != AUTHORITY.record.intermediate_key
    for authority in (AUTHORITY, made):
        leaf(authority=authority).verify_directly_issued_by(authority.issuer)


def test_an_external_authority_has_no_root_key() -> None:
    root = external()
    issuing = external("issuing", root)
    made = FORGE.external_authority(SEALER, [issuing.certificate, root.certificate], issuing.key, now_ns=NOW_NS)
    assert made.external
    assert (made.intermediates, made.root) == ((issuing.certificate,), root.certificate)
    assert not made.record.root_key
    with pytest.raises(ValueError, match="root's key is not here"):
        FORGE.renewed(made, SEALER, now_ns=NOW_NS)


def test_no_two_are_alike() -> None:
    authorities = [FORGE.authority(SEALER, now_ns=NOW_NS) for _ in range(5)]
    made = [*authorities, AUTHORITY]
    assert len({authority.id for authority in made}) == len(made)
    assert len({authority.record.jwt_key_id for authority in made}) == len(made)
    assert len({authority.root.subject for authority in made}) == len(made)
    serials = {leaf().serial_number for _ in range(50)}
    assert len(serials) == 50
    assert all(0 < serial < 1 << 159 for serial in serials)
    assert {len(format(serial, "x")) for serial in serials} == {40}


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_leaves_are_made_for_other_keys_too(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    made = FORGE.leaf(AUTHORITY, IDENTITY, (), key.public_key(), now_ns=NOW_NS, ttl=60)
    assert made.public_key() == key.public_key()


SEGMENT = st.from_regex(r"[A-Za-z0-9_-]{1,63}", fullmatch=True)
DNS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z]{1,10}){0,3}", fullmatch=True)


@given(
    segments=st.lists(SEGMENT, min_size=1, max_size=6),
    names=st.lists(DNS, max_size=5, unique=True),
    ttl=st.integers(60, 30 * DAY),
    ahead=st.integers(0, 29 * DAY),
)
def test_whatever_is_asked_for_the_kernels_own_verifier_takes_it(
    segments: list[str], names: list[str], ttl: int, ahead: int
) -> None:
    identity = SpiffeId(DOMAIN, tuple(segments))
    made = leaf(*names, identity=identity, ttl=ttl, ahead=ahead)
    now = NOW_NS / 10**9 + ahead
    for time in (now - 300, now, made.not_valid_after_utc.timestamp()):
        svid = x509_svid.verify(made, AUTHORITY.intermediates, {DOMAIN: [AUTHORITY.root]}, now=time)
        assert svid.identity == identity
    for time in (now - 301, made.not_valid_after_utc.timestamp() + 1):
        with pytest.raises(x509_svid.SvidExpired):
            x509_svid.verify(made, AUTHORITY.intermediates, {DOMAIN: [AUTHORITY.root]}, now=time)


def test_a_long_trust_domain_fits() -> None:
    domain = "d" * 255
    forge = Forge(Terms(domain, 1000 * DAY, 30 * DAY, 300), RANDOM)
    authority = forge.authority(SEALER, now_ns=NOW_NS)
    identity = SpiffeId(domain, ("node", "n"))
    made = forge.leaf(authority, identity, (), KEY.public_key(), now_ns=NOW_NS, ttl=60)
    x509_svid.verify(made, authority.intermediates, {domain: [authority.root]}, now=NOW_NS / 10**9)


def revoked(*serials: str, now_ns: int = NOW_NS) -> bytes:
    return FORGE.crl(AUTHORITY, [(serial, now_ns) for serial in serials], now_ns=now_ns)


def test_a_revocation_list_is_signed_numbered_and_valid_for_a_day() -> None:
    serials = [x509_svid.serial_of(leaf()) for _ in range(3)]
    crl = x509.load_der_x509_crl(revoked(*serials))
    assert crl.issuer == AUTHORITY.issuer.subject
    assert crl.is_signature_valid(AUTHORITY.issuer.public_key())  # type: ignore[arg-type]  # it is an elliptic one
    assert {format(entry.serial_number, "x") for entry in crl} == set(serials)
    assert {entry.revocation_date_utc for entry in crl} == {at(0)}
    assert (crl.last_update_utc, crl.next_update_utc) == (at(-300), at(DAY))
    later = x509.load_der_x509_crl(revoked(now_ns=NOW_NS + 1))
    numbers = [c.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for c in (crl, later)]
    assert numbers[0] < numbers[1] < 1 << 159


@openssl.needed
def test_openssl_reads_what_was_meant() -> None:
    said = openssl.text(leaf("web.example.org"))
    for wanted in ("CA:FALSE", "Digital Signature", f"URI:{WEB}", "DNS:web.example.org", "TLS Web Client"):
        assert wanted in said
    assert "critical" in said
    said = openssl.text(AUTHORITY.issuer)
    for wanted in ("CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", f"URI:spiffe://{DOMAIN}"):
        assert wanted in said
    assert "CA:TRUE, pathlen:1" in openssl.text(AUTHORITY.root)


@openssl.needed
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_verifies_what_the_root_vouches_for_and_nothing_else(tmp_path: Path, purpose: str) -> None:
    made, time = leaf("web.example.org"), ("-attime", str(NOW_NS // 10**9), "-purpose", purpose)
    chain, roots = AUTHORITY.intermediates, [AUTHORITY.root]
    verified, said = openssl.verified(tmp_path, made, chain, roots, *time, "-verify_hostname", "web.example.org")
    assert verified, said
    other = FORGE.authority(SEALER, now_ns=NOW_NS)
    for spoiled, error in (
        (openssl.verified(tmp_path, made, chain, [other.root], *time), "unable to get"),
        (openssl.verified(tmp_path, made, (), roots, *time), "unable to get"),
        (openssl.verified(tmp_path, made, chain, roots, *time, "-verify_hostname", "other.org"), "hostname mismatch"),
        (openssl.verified(tmp_path, made, chain, roots, "-attime", str(NOW_NS // 10**9 + 3700)), "expired"),
        (openssl.verified(tmp_path, made, chain, roots, "-attime", str(NOW_NS // 10**9 - 400)), "not yet valid"),
    ):
        assert not spoiled[0]
        assert error in spoiled[1]


@openssl.needed
def test_openssl_heeds_the_revocation_list(tmp_path: Path) -> None:
    good, bad, time = leaf(), leaf(), ("-attime", str(NOW_NS // 10**9))
    crl = revoked(x509_svid.serial_of(bad))
    chain, roots = AUTHORITY.intermediates, [AUTHORITY.root]
    verified, said = openssl.verified(tmp_path, good, chain, roots, *time, crl=crl)
    assert verified, said
    verified, said = openssl.verified(tmp_path, bad, chain, roots, *time, crl=crl)
    assert not verified
    assert "certificate revoked" in said
