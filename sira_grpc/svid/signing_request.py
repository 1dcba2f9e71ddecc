"""Certificate signing requests, PKCS #10: made by who wants an identity, read by who may grant it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.svid.x509_svid import MALFORMED

MAX_BYTES = 8192
MAX_DNS_NAMES = 64
RSA_BITS = range(2048, 4097)
CURVES = ("secp256r1", "secp384r1")
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What a request asks for.

    Attributes:
        identity: the SPIFFE ID.
        dns_names: lower case, without repetition.
        public_key: of the one who asks, who has proved to hold the private one.
    """

    identity: SpiffeId
    dns_names: tuple[str, ...]
    public_key: PublicKey


def make(identity: SpiffeId, dns_names: Sequence[str] = ()) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """Makes a new ECDSA P-256 key and a request for it. Returns the key and the request, DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, request(key, identity, dns_names)


def request(key: ec.EllipticCurvePrivateKey, identity: SpiffeId, dns_names: Sequence[str] = ()) -> bytes:
    """Makes a request for a key, DER."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(identity))]
    names += [x509.DNSName(name) for name in dns_names]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def read(data: bytes) -> SigningRequest:
    """Reads a request, DER, and checks that it is signed by its own key.

    Raises:
        ValueError: it is malformed, asks for something that is never granted, or its signature is wrong; says the rule.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"must be at most {MAX_BYTES} bytes")
    try:
        csr = x509.load_der_x509_csr(data)
        key = csr.public_key()
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise ValueError("must ask for a subject alternative name: a URI, the SPIFFE ID") from error
    except MALFORMED as error:
        raise ValueError("is no PKCS #10 certificate signing request in DER") from error
    checked = _check_key(key)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise ValueError(f"must ask for one URI name, the SPIFFE ID, and asks for {len(uris)}")
    dns_names = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    if len(dns_names) > MAX_DNS_NAMES:
        raise ValueError(f"must ask for at most {MAX_DNS_NAMES} DNS names")
    identity = SpiffeId.parse(uris[0])
    if not identity.segments:
        raise ValueError("must ask for a SPIFFE ID with a path")
    try:
        signed = csr.is_signature_valid
    except MALFORMED:
        signed = False
    if not signed:
        raise ValueError("must be signed by the key that it is for")
    return SigningRequest(identity, tuple(dict.fromkeys(dns_names)), checked)


def _check_key(key: object) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        return key
    raise ValueError("must have a key of ECDSA P-256 or P-384, or of RSA with 2,048 to 4,096 bits")
