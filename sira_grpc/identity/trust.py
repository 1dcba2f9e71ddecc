"""Trust: whom verifiers should believe, as one state that is built once for all who read or watch it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from google.protobuf.duration_pb2 import Duration
from sira.identity.v1.identity_service_pb2 import WatchTrustBundlesResponse
from sira.identity.v1.trust_bundle_pb2 import TrustBundle

from sira_grpc.clock import Clock
from sira_grpc.errors import TrustDomainNotFound
from sira_grpc.identity.authority import Authority
from sira_grpc.identity.forge import CRL_HOURS, Forge
from sira_grpc.identity.keyring import Keyring
from sira_grpc.identity.view import IdentityView
from sira_grpc.svid import bundle_document, x509_svid
from sira_grpc.svid.jwt_svid import PublicKey
from sira_grpc.times import NANOS

CRL_NS = CRL_HOURS * 3600 * NANOS // 2
"""Age at which revocation lists are made anew: half of their validity."""

RENEWALS_PER_SECOND = 100
"""Pace at which watchers are asked to renew when another authority issues: some fifth of a core of the kernel."""
Revoked = list[tuple[str, int]]
"""Serial numbers, and when they were revoked in Unix nanoseconds."""


@dataclass(frozen=True, slots=True)
class TrustState:
    """What a watcher is sent.

    Attributes:
        revision: of the state.
        message: a serialized WatchTrustBundlesResponse.
        time_ns: when it was built.
    """

    revision: int
    message: bytes
    time_ns: int


class Trust:
    """The bundles and revocations of the view, in the forms in which they are needed.

    Attributes:
        watching: tells how many watch.
    """

    def __init__(
        self, view: IdentityView, keyring: Keyring, forge: Forge, clock: Clock, *, refresh_hint: float
    ) -> None:
        self._view = view
        self._keyring = keyring
        self._forge = forge
        self._clock = clock
        self._hint = Duration(seconds=round(refresh_hint))
        self._state: TrustState | None = None
        self._building = asyncio.Lock()
        self._roots: tuple[int, Mapping[str, Sequence[x509.Certificate]]] = (0, {})
        self._jwt_keys: tuple[int, Mapping[str, Mapping[str, PublicKey]]] = (0, {})
        self._own: tuple[int, TrustBundle] = (0, TrustBundle())
        self.watching: Callable[[], int] = lambda: 0

    @property
    def revision(self) -> int:
        """Revision of the last change."""
        return self._view.trust_revision

    def now(self) -> float:
        """The time, in Unix seconds."""
        return self._clock.time_ns() / NANOS

    @property
    def roots_revision(self) -> int:
        """Revision of the last change of the authorities."""
        return self._view.roots_revision

    @property
    def trust_domain(self) -> str:
        """The trust domain."""
        assert self._view.domain is not None, "it is founded before anything is verified"
        return self._view.domain.value.trust_domain

    def bundle(self, trust_domain: str = "") -> TrustBundle:
        """Returns a trust bundle: the own one, or a federated one.

        Raises:
            TrustDomainNotFound: there is none of that trust domain.
        """
        if trust_domain in ("", self.trust_domain):
            return self._own_bundle()
        stored = self._view.federated.get(trust_domain)
        if stored is None:
            raise TrustDomainNotFound(
                f"there is no bundle of the trust domain {trust_domain}", metadata={"trust_domain": trust_domain}
            )
        return stored.value.bundle

    def roots(self) -> Mapping[str, Sequence[x509.Certificate]]:
        """Returns the roots that callers of the kernel are verified with: those of the own trust domain alone."""
        if self._roots[0] != self.roots_revision:
            roots = [authority.root for authority in self._keyring.trusted()]
            self._roots = (self.roots_revision, {self.trust_domain: roots})
        return self._roots[1]

    def jwt_keys(self) -> Mapping[str, Mapping[str, PublicKey]]:
        """Returns the keys that tokens of callers are verified with, by trust domain and key id."""
        if self._jwt_keys[0] != self.roots_revision:
            self._jwt_keys = (
                self.roots_revision,
                {self.trust_domain: dict(bundle_document.jwt_keys(self._own_bundle()))},
            )
        return self._jwt_keys[1]

    def bundle_pem(self) -> bytes:
        """Returns the roots of the own trust domain, PEM."""
        return x509_svid.to_pem(list(self.roots()[self.trust_domain]))

    def document(self) -> bytes:
        """Returns the own bundle as a SPIFFE bundle document."""
        return bundle_document.write(self._own_bundle())

    @property
    def stale(self) -> bool:
        """The revocation lists of the state that was built last are to be made anew."""
        return self._state is not None and self._clock.time_ns() - self._state.time_ns > CRL_NS

    async def state(self) -> TrustState:
        """Returns the state as it is; built once for all who ask, in a thread: revocation lists may be long."""
        async with self._building:
            state, now_ns = self._state, self._clock.time_ns()
            if state is None or state.revision != self.revision or self.stale:
                state = self._state = await self._build(now_ns)
            return state

    async def _build(self, now_ns: int) -> TrustState:
        revision = self.revision
        issuing, trusted = self._keyring.issuing(), self._keyring.trusted()
        revoked = self._revoked(now_ns)
        crls = await asyncio.to_thread(self._crls, trusted, revoked, now_ns)
        message = WatchTrustBundlesResponse(
            revision=revision,
            bundle=self._own_bundle(),
            federated=[stored.value.bundle for _, stored in sorted(self._view.federated.items())],
            issuing_authority=issuing.id,
            crls=crls,
            renew_within=Duration(seconds=self.watching() // RENEWALS_PER_SECOND),
        )
        return TrustState(revision, message.SerializeToString(), now_ns)

    def _crls(self, authorities: Sequence[Authority], revoked: Mapping[str, Revoked], now_ns: int) -> list[bytes]:
        return [self._forge.crl(a, revoked[a.id], now_ns=now_ns) for a in authorities if a.id in revoked]

    def _revoked(self, now_ns: int) -> dict[str, Revoked]:
        """What is revoked and would otherwise be valid, by authority."""
        # By the revocations themselves: the records are marked only after them.
        times = {s: revoked.value.revoke_time.ToNanoseconds() for s, revoked in self._view.revoked_serials.items()}
        for identity, revoked in self._view.revoked_identities.items():
            time_ns = revoked.value.revoke_time.ToNanoseconds()
            for serial in self._view.by_identity.get(identity, ()):
                if self._view.certificates[serial].value.issue_time.ToNanoseconds() <= time_ns:
                    times[serial] = min(time_ns, times.get(serial, time_ns))
        found: dict[str, Revoked] = {}
        for serial, time_ns in sorted(times.items()):
            stored = self._view.certificates.get(serial)
            if stored is not None and stored.value.expire_time.ToNanoseconds() > now_ns:
                found.setdefault(stored.value.authority, []).append((serial, time_ns))
        return found

    def _own_bundle(self) -> TrustBundle:
        assert self._view.domain is not None, "it is founded before anything is verified"
        if self._own[0] != self.roots_revision:
            domain, authorities = self._view.domain.value, self._keyring.trusted()
            bundle = TrustBundle(
                trust_domain=domain.trust_domain,
                x509_authorities=[authority.record.root for authority in authorities],
                jwt_authorities=[authority.jwt_authority for authority in authorities],
                sequence=domain.sequence,
                refresh_hint=self._hint,
            )
            self._own = (self.roots_revision, bundle)
        return self._own[1]
