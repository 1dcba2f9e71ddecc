"""Names of identity resources, and the store keys they live under."""

from __future__ import annotations

import hashlib

PREFIX = "identity/"
DOMAIN = "identity/domain"
ROTATION = "identity/rotation"
AUTHORITIES = "identity/authorities/"
TOKENS = "identity/tokens/"
USES = "identity/uses/"
CERTIFICATES = "identity/certificates/"
REVOCATIONS = "identity/revocations/"
FEDERATED = "identity/federated/"
FOLLOWERS = "identity/followers/"

TOKEN_NAME = "joinTokens/"
FEDERATED_NAME = "federatedBundles/"


def authority_key(authority: str) -> str:
    """Returns the store key of an authority's id."""
    return AUTHORITIES + authority


def token_key(token: str) -> str:
    """Returns the store key of a join token's id."""
    return TOKENS + token


def use_key(token: str, slot: int) -> str:
    """Returns the store key of one use of a join token: its slots are numbered from 0."""
    return f"{USES}{token}/{slot}"


def certificate_key(serial: str) -> str:
    """Returns the store key of a certificate's record."""
    return CERTIFICATES + serial


def serial_revocation_key(serial: str) -> str:
    """Returns the store key of the revocation of one certificate."""
    return f"{REVOCATIONS}serial/{serial}"


def identity_revocation_key(identity: str) -> str:
    """Returns the store key of the revocation of what an identity was issued: ids are no key segments."""
    return f"{REVOCATIONS}identity/{_digest(identity)}"


def federated_key(trust_domain: str) -> str:
    """Returns the store key of another trust domain's bundle."""
    return FEDERATED + _digest(trust_domain)


def follower_key(member: str) -> str:
    """Returns the store key of how far the watchers of a member have followed a rotation."""
    return FOLLOWERS + member


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
