"""Join secrets: what a joining program is handed, which names a token, proves it, and lets it verify the kernel."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from cryptography import x509

from sira_grpc.svid.x509_svid import to_der

SECRET_BYTES = 20
_FORM = re.compile(r"(?P<token>[0-9a-f]{10})\.(?P<secret>[0-9a-f]{40})\.(?P<fingerprint>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True, repr=False)
class JoinSecret:
    """A join secret, `{token}.{secret}.{fingerprint}`. It has no repr, so that no log shows it.

    Attributes:
        token: id of the join token.
        secret: proves that the bearer was given it; 160 random bits, hex.
        fingerprint: SHA-256 of the kernel's root certificate, hex.
    """

    token: str
    secret: str
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> JoinSecret:
        """Reads a join secret.

        Raises:
            ValueError: it is none; the message does not repeat it.
        """
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError("is no join token: must be {token}.{secret}.{fingerprint}, as it was printed")
        return cls(match["token"], match["secret"], match["fingerprint"])

    def __str__(self) -> str:
        """Its text, to be handed over."""
        return f"{self.token}.{self.secret}.{self.fingerprint}"

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret: what is stored of it."""
        return hashlib.sha256(bytes.fromhex(self.secret)).digest()


def fingerprint(certificate: x509.Certificate) -> str:
    """Returns SHA-256 of a certificate, hex."""
    return hashlib.sha256(to_der(certificate)).hexdigest()
