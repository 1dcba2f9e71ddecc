"""Callers: who they are by what they show, and for how long that counts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from sira_grpc.clock import Clock
from sira_grpc.errors import CredentialExpired, CredentialInvalid, CredentialRevoked
from sira_grpc.identity.trust import Trust
from sira_grpc.identity.view import IdentityView
from sira_grpc.svid import jwt_svid, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.svid.x509_svid import SvidError, SvidExpired
from sira_grpc.times import NANOS

REMEMBERED = 20_000
"""Certificates and tokens that were verified and are remembered, each; the oldest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller whose identity was verified.

    Attributes:
        identity: its SPIFFE ID.
        name: the same as text.
        serial: serial number of its certificate; empty for a token.
        issued_ns: when what it showed was issued, in Unix nanoseconds.
        not_after_ns: when that expires, in Unix nanoseconds.
    """

    identity: SpiffeId
    name: str
    serial: str
    issued_ns: int
    not_after_ns: int


class CallerVerifier(Protocol):
    """Finds out who a caller is."""

    @property
    def generation(self) -> int:
        """Grows when other roots count: what was verified before should be again."""

    def by_certificate(self, leaf: bytes, chain: bytes) -> Caller:
        """Verifies a client certificate and those that came with it, PEM."""

    def by_connection(self, leaf: bytes, chain: bytes) -> Caller:
        """Verifies a client certificate that was verified when the connection was opened: see Callers."""

    def by_token(self, token: str) -> Caller:
        """Verifies a JWT-SVID."""

    def check(self, caller: Caller) -> None:
        """Makes sure that what a caller showed still counts."""


class Callers:
    """Verifies callers against the trust state, and remembers those that it has seen.

    Args:
        view: knows what is revoked.
        trust: knows the roots.
        clock: the time.
        clock_skew: seconds by which certificates are valid before they are issued, and tokens may be ahead.
    """

    def __init__(self, view: IdentityView, trust: Trust, clock: Clock, *, clock_skew: float) -> None:
        self._view = view
        self._trust = trust
        self._clock = clock
        self._skew = clock_skew
        self._verified_with = 0
        self._by_certificate: dict[bytes, Caller] = {}
        self._by_token: dict[bytes, Caller] = {}

    @property
    def generation(self) -> int:
        """See CallerVerifier."""
        return self._trust.roots_revision

    def by_certificate(self, leaf: bytes, chain: bytes) -> Caller:
        """Returns who shows a certificate.

        Raises:
            CredentialInvalid, CredentialExpired, CredentialRevoked.
        """
        self._forget_if_trust_changed()
        caller = self._by_certificate.get(leaf)
        if caller is None:
            caller = self._verify_certificate(leaf, chain)
            _remember(self._by_certificate, leaf, caller)
        self.check(caller)
        return caller

    def by_connection(self, leaf: bytes, chain: bytes) -> Caller:
        """Returns who has shown a certificate that counted when its connection was opened.

        It may have expired since, or its root be gone: if there is a record that it was issued, and it is not revoked,
        its holder is known all the same. For clients that cannot open another connection when they should.

        Raises:
            CredentialInvalid, CredentialExpired, CredentialRevoked.
        """
        try:
            return self.by_certificate(leaf, chain)
        except (CredentialExpired, CredentialInvalid):
            caller = self._recorded(leaf)
            if caller is None:
                raise
        if self._view.revoked(caller.name, caller.serial, caller.issued_ns):
            raise CredentialRevoked(f"what {caller.name} showed was revoked", metadata={"identity": caller.name})
        return caller

    def by_token(self, token: str) -> Caller:
        """Returns who shows a token that is for the kernel: for the audience `spiffe://{trust domain}`.

        Raises:
            CredentialInvalid, CredentialExpired, CredentialRevoked.
        """
        self._forget_if_trust_changed()
        key = hashlib.sha256(token.encode(errors="replace")).digest()
        caller = self._by_token.get(key)
        if caller is None:
            caller = self._verify_token(token)
            _remember(self._by_token, key, caller)
        self.check(caller)
        return caller

    def check(self, caller: Caller) -> None:
        """Makes sure that what a caller showed still counts.

        Raises:
            CredentialExpired, CredentialRevoked.
        """
        if self._clock.time_ns() > caller.not_after_ns:
            raise CredentialExpired(f"what {caller.name} showed has expired", metadata={"identity": caller.name})
        if self._view.revoked(caller.name, caller.serial, caller.issued_ns):
            raise CredentialRevoked(f"what {caller.name} showed was revoked", metadata={"identity": caller.name})

    def _verify_certificate(self, leaf: bytes, chain: bytes) -> Caller:
        try:
            certificate = x509_svid.read_pem(leaf)[0]
            intermediates = x509_svid.read_pem(chain) if chain else []
            svid = x509_svid.verify(certificate, intermediates, self._trust.roots(), now=self._clock.time_ns() / NANOS)
        except SvidExpired as error:
            raise CredentialExpired(str(error)) from error
        except SvidError as error:
            raise CredentialInvalid(str(error)) from error
        record = self._view.certificates.get(svid.serial)
        # One that the record is gone of, as after a restored backup, was issued about then.
        issued_ns = record.value.issue_time.ToNanoseconds() if record else round((svid.not_before + self._skew) * NANOS)
        return Caller(svid.identity, str(svid.identity), svid.serial, issued_ns, round(svid.not_after * NANOS))

    def _recorded(self, leaf: bytes) -> Caller | None:
        try:
            certificate = x509_svid.read_pem(leaf)[0]
            identity = x509_svid.identity_of(certificate)
        except SvidError:
            return None
        serial = x509_svid.serial_of(certificate)
        stored = self._view.certificates.get(serial)
        if stored is None or stored.value.identity != str(identity):
            return None
        record = stored.value
        expires_ns = record.expire_time.ToNanoseconds()
        return Caller(identity, record.identity, serial, record.issue_time.ToNanoseconds(), expires_ns)

    def _verify_token(self, token: str) -> Caller:
        audience = f"spiffe://{self._trust.trust_domain}"
        now = self._clock.time_ns() / NANOS
        try:
            svid = jwt_svid.verify(token, self._trust.jwt_keys(), audience=audience, now=now, leeway=self._skew)
        except SvidExpired as error:
            raise CredentialExpired(str(error)) from error
        except SvidError as error:
            raise CredentialInvalid(str(error)) from error
        return Caller(
            svid.identity, str(svid.identity), "", round(svid.issued_at * NANOS), round(svid.not_after * NANOS)
        )

    def _forget_if_trust_changed(self) -> None:
        """A root that has gone vouches for nobody any more."""
        if self._verified_with != self._trust.roots_revision:
            self._verified_with = self._trust.roots_revision
            self._by_certificate.clear()
            self._by_token.clear()


def _remember(callers: dict[bytes, Caller], key: bytes, caller: Caller) -> None:
    if len(callers) >= REMEMBERED:
        del callers[next(iter(callers))]
    callers[key] = caller
