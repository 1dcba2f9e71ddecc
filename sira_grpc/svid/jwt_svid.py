"""JWT-SVIDs: signed tokens that say who their bearer is, and whom they are to be shown to.

Source: the SPIFFE standard, "The JWT SPIFFE Verifiable Identity Document". Signed with ES256.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.svid.x509_svid import MALFORMED, SvidError, SvidExpired

ALGORITHM = "ES256"
ACCEPTED = ("ES256", "ES384", "RS256", "PS256")
"""Algorithms of tokens that are verified: ours, and those of other trust domains."""
MAX_BYTES = 16_384
MIN_RSA_BITS = 2048
_TYPES = (None, "JWT", "JOSE")
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class JwtSvid:
    """A verified JWT-SVID.

    Attributes:
        identity: the SPIFFE ID in it.
        issued_at, not_after: when it was issued and when it expires, in Unix seconds.
        claims: all that it says.
    """

    identity: SpiffeId
    issued_at: float
    not_after: float
    claims: Mapping[str, Any]


def sign(
    key: ec.EllipticCurvePrivateKey, key_id: str, identity: SpiffeId, audiences: Sequence[str], *, now: int, ttl: int
) -> str:
    """Makes a token.

    Args:
        key: ECDSA P-256.
        key_id: names the key in the bundle.
        identity: who its bearer is.
        audiences: whom it is to be shown to.
        now: Unix seconds.
        ttl: seconds.
    """
    claims = {"sub": str(identity), "aud": list(audiences), "iat": now, "exp": now + ttl}
    return jwt.encode(claims, key, ALGORITHM, headers={"kid": key_id, "typ": "JWT"})


def verify(
    token: str, keys: Mapping[str, Mapping[str, PublicKey]], *, audience: str, now: float, leeway: float = 0.0
) -> JwtSvid:
    """Verifies a token and returns what it says.

    Args:
        token: compact serialization.
        keys: by trust domain and key id: those of one vouch for no identity of another.
        audience: that it must be for.
        now: Unix seconds.
        leeway: seconds by which its issuer's clock may be ahead.

    Raises:
        SvidExpired: it is not valid any more, or not yet.
        SvidError: it is no JWT-SVID, for another audience, of a trust domain that is not known, or not vouched for.
    """
    if len(token) > MAX_BYTES:
        raise SvidError(f"the token is longer than {MAX_BYTES} bytes")
    try:
        header = jwt.get_unverified_header(token)
        unverified = jwt.decode(token, options={"verify_signature": False})
        identity = SpiffeId.parse(str(unverified.get("sub", "")))
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise SvidError(f"the token is no JWT-SVID: {error}") from error
    if header.get("typ") not in _TYPES:
        raise SvidError(f"the token of {identity} is of another type than JWT")
    key = keys.get(identity.trust_domain, {}).get(str(header.get("kid")))
    if key is None:
        raise SvidError(f"the token of {identity} is signed with a key that is not known here")
    options: Any = {"require": ["sub", "aud", "exp"], "verify_exp": False, "verify_iat": False, "verify_nbf": False}
    try:
        claims: dict[str, Any] = jwt.decode(token, key, list(ACCEPTED), audience=audience, options=options)
    except jwt.InvalidAudienceError as error:
        raise SvidError(f"the token of {identity} is not for the audience {audience}") from error
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise SvidError(f"the token of {identity} cannot be verified") from error
    issued_at, not_after = _times(claims)
    if now >= not_after:  # unlike a certificate, which still holds at its last second
        raise SvidExpired(f"the token of {identity} expired {now - not_after:.0f} s ago")
    if now + leeway < issued_at:
        raise SvidExpired(f"the token of {identity} is valid only in {issued_at - now:.0f} s")
    return JwtSvid(identity, issued_at, not_after, claims)


def public_der(key: PublicKey) -> bytes:
    """Writes a public key, a DER SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_public_der(data: bytes) -> PublicKey:
    """Reads a public key, a DER SubjectPublicKeyInfo.

    Raises:
        ValueError: it is malformed, or neither elliptic nor RSA of at least 2,048 bits.
    """
    try:
        key = serialization.load_der_public_key(data)
    except MALFORMED as error:
        raise ValueError("is no public key in DER") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ValueError("is neither an elliptic nor an RSA key")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise ValueError(f"is an RSA key of fewer than {MIN_RSA_BITS} bits")
    return key


def _times(claims: Mapping[str, Any]) -> tuple[float, float]:
    """From when and until when the claims hold: `nbf` goes before `iat`."""
    start, end = claims.get("nbf", claims.get("iat", 0)), claims["exp"]
    if not all(isinstance(time, int | float) and not isinstance(time, bool) for time in (start, end)):
        raise SvidError("the token's times are no numbers")
    try:
        times = float(start), float(end)
    except OverflowError as error:
        raise SvidError("the token's times are out of range") from error
    if not all(map(math.isfinite, times)):  # JSON as Python reads it has NaN and Infinity, which never expire
        raise SvidError("the token's times are out of range")
    return times
