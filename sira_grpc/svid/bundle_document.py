"""SPIFFE bundle documents: trust bundles as JWK sets in JSON.

Source: the SPIFFE standard, "SPIFFE Trust Domain and Bundle", section 4.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from google.protobuf.duration_pb2 import Duration
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from sira.identity.v1.trust_bundle_pb2 import JwtAuthority, TrustBundle

from sira_grpc.svid.jwt_svid import PublicKey, public_der, read_public_der
from sira_grpc.svid.spiffe_id import check_trust_domain
from sira_grpc.svid.x509_svid import MALFORMED, read_der

MAX_BYTES = 256 << 10
MAX_KEYS = 256
X509, JWT = "x509-svid", "jwt-svid"
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
"""The members of a JWK that are the public key itself."""

_UNREADABLE: tuple[type[Exception], ...] = (*MALFORMED, jwt.PyJWTError, TypeError, AttributeError)
"""What PyJWT and pyca/cryptography raise for JWKs that they cannot read."""


def write(bundle: TrustBundle, *, uses: tuple[str, ...] = (X509, JWT)) -> bytes:
    """Returns the document of a bundle.

    Args:
        bundle: whose keys are written.
        uses: which of them: X509, JWT.

    Raises:
        ValueError: a key or certificate of it is malformed, or of a kind that has no JWK.
    """
    keys: list[dict[str, Any]] = []
    if X509 in uses:
        keys += [_certificate_key(der) for der in bundle.x509_authorities]
    if JWT in uses:
        keys += [_jwt_key(authority) for authority in bundle.jwt_authorities]
    document = {"keys": keys, "spiffe_sequence": bundle.sequence, "spiffe_refresh_hint": bundle.refresh_hint.seconds}
    return json.dumps(document, separators=(",", ":")).encode()


def read(trust_domain: str, document: bytes) -> TrustBundle:
    """Reads the document of a trust domain.

    Keys of uses that are not known are left out, as the standard has it.

    Raises:
        ValueError: it is malformed, or holds no X.509 authority; says the rule.
    """
    check_trust_domain(trust_domain)
    if len(document) > MAX_BYTES:
        raise ValueError(f"must be at most {MAX_BYTES} bytes")
    try:
        data = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise ValueError("must be JSON") from error
    keys = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS or not all(isinstance(key, dict) for key in keys):
        raise ValueError(f"must be a JWK set with at most {MAX_KEYS} keys")
    bundle = TrustBundle(
        trust_domain=trust_domain,
        x509_authorities=[_read_certificate(key) for key in keys if key.get("use") == X509],
        jwt_authorities=[_read_jwt_key(key) for key in keys if key.get("use") == JWT],
        sequence=_whole(data, "spiffe_sequence", 2**63),
        refresh_hint=Duration(seconds=_whole(data, "spiffe_refresh_hint", 86_400 * 365)),
    )
    if not bundle.x509_authorities:
        raise ValueError(f"must hold a key with the use {X509}")
    return bundle


def jwt_keys(bundle: TrustBundle) -> Iterator[tuple[str, PublicKey]]:
    """Yields the key ids and keys that JWT-SVIDs of a bundle are verified with."""
    for authority in bundle.jwt_authorities:
        yield authority.key_id, read_public_der(authority.public_key)


def _certificate_key(der: bytes) -> dict[str, Any]:
    key = read_der(der).public_key()
    return {"use": X509, "x5c": [base64.b64encode(der).decode()], **_jwk(key)}


def _jwt_key(authority: JwtAuthority) -> dict[str, Any]:
    return {"use": JWT, "kid": authority.key_id, **_jwk(read_public_der(authority.public_key))}


def _jwk(key: Any) -> dict[str, Any]:
    """The public key itself, without what PyJWT adds of its own.

    Raises:
        ValueError: it is of a kind that has no JWK.
    """
    algorithm: type[RSAAlgorithm | ECAlgorithm | OKPAlgorithm]
    match key:
        case rsa.RSAPublicKey():
            algorithm = RSAAlgorithm
        case ec.EllipticCurvePublicKey():
            algorithm = ECAlgorithm
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            algorithm = OKPAlgorithm
        case _:
            raise ValueError(f"a key of the kind {type(key).__name__} has no JWK")
    try:
        made: dict[str, Any] = algorithm.to_jwk(key, as_dict=True)
    except jwt.PyJWTError as error:
        raise ValueError(f"the key has no JWK: {error}") from error
    return {name: made[name] for name in _PUBLIC if name in made}


def _read_certificate(key: dict[str, Any]) -> bytes:
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise ValueError(f"a key with the use {X509} must have one certificate in x5c")
    try:
        der = base64.b64decode(chain[0], validate=True)
        certificate = read_der(der)
    except ValueError as error:
        raise ValueError(f"a key with the use {X509} must have a DER certificate, base64, in x5c") from error
    try:
        _jwk(certificate.public_key())
    except MALFORMED as error:
        raise ValueError(f"a certificate of a key with the use {X509} is for an unknown kind of key") from error
    return der


def _read_jwt_key(key: dict[str, Any]) -> JwtAuthority:
    key_id = key.get("kid")
    if not isinstance(key_id, str) or not key_id or len(key_id) > 256:
        raise ValueError(f"a key with the use {JWT} must have a kid of 1 to 256 characters")
    if "d" in key:
        raise ValueError(f"the key {key_id!r} is a private key")
    public = {name: key[name] for name in _PUBLIC if name in key}
    try:
        made: Any = jwt.PyJWK(public, algorithm="RS256" if key.get("kty") == "RSA" else "ES256").key
        der = public_der(made)
        read_public_der(der)
        return JwtAuthority(key_id=key_id, public_key=der)
    except _UNREADABLE as error:
        raise ValueError(
            f"the key {key_id!r} is neither an elliptic public key nor an RSA one of 2,048 bits or more"
        ) from error


def _whole(data: dict[str, Any], name: str, limit: int) -> int:
    value = data.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        raise ValueError(f"{name} must be a whole number from 0 to {limit - 1}")
    return value
