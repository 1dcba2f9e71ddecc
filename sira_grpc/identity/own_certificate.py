"""Certificates that the kernel holds itself: issued at the start, and again at half of their lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sira_grpc.clock import Clock
from sira_grpc.errors import SiraError
from sira_grpc.identity.issuer import Issuer, Order
from sira_grpc.identity.view import IdentityView
from sira_grpc.svid import x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import NANOS

RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)

Install = Callable[[bytes, bytes, str], Awaitable[None]]
"""Puts a certificate with its intermediates, and its key, both PEM, to use; is told the authority that issued it."""


class OwnCertificate:
    """One certificate and its renewal.

    Args:
        view: knows what was issued for the same identity before.
        issuer: issues it.
        identity: whom it is for.
        names: DNS names and IP addresses besides.
        clock: the time.
        ttl: seconds.
        install: puts it to use.
    """

    def __init__(
        self,
        view: IdentityView,
        issuer: Issuer,
        identity: SpiffeId,
        names: Sequence[str],
        clock: Clock,
        *,
        ttl: float,
        install: Install,
    ) -> None:
        self.identity = identity
        self._view = view
        self._issuer = issuer
        self._names = names
        self._clock = clock
        self._ttl = ttl
        self._install = install
        self._authority = ""
        self._serial = ""
        self._issued_ns = 0
        self._renew_ns = 0
        self._wake = asyncio.Event()

    async def renew(self, authority: str = "") -> None:
        """Has a new one issued, with a new key, and puts it to use. Those before it count no more.

        Args:
            authority: id of the authority that issues it; empty for the one that issues now.

        Raises:
            StoreUnavailable: there can be no record of it now.
            OSError: it cannot be put to use.
        """
        self._wake.clear()
        key = ec.generate_private_key(ec.SECP256R1())
        before = [serial for serial in self._view.by_identity.get(str(self.identity), ()) if self._counts(serial)]
        name = str(self.identity)
        order = Order(self.identity, self._names, key.public_key(), self._ttl, requester=name, supersedes=before)
        order.authority = authority
        issued = await self._issuer.order(order)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = x509_svid.to_pem([x509_svid.read_der(der) for der in issued.chain])
        await self._install(chain, private, issued.record.authority)
        self._authority, self._serial = issued.record.authority, issued.record.serial
        self._issued_ns = issued.record.issue_time.ToNanoseconds()
        # Near the end of its issuer certificates get ever shorter: they must not follow one another without a pause.
        self._renew_ns = max(issued.renew_time.ToNanoseconds(), self._issued_ns + round(RETRY_SECONDS * NANOS))
        if self.outdated:  # another one issues since it was ordered
            self._wake.set()

    def _counts(self, serial: str) -> bool:
        held = self._view.certificates[serial].value
        return not held.superseded_by and not held.HasField("revoke_time")

    @property
    def outdated(self) -> bool:
        """Another authority issues than the one that has issued it."""
        assert self._view.domain is not None, "it was founded before anything was issued"
        return self._view.domain.value.issuing != self._authority

    def trust_changed(self) -> None:
        """Has it renewed if another authority issues now, or it was revoked: the kernel cannot be without it."""
        if self.outdated or self._view.revoked(str(self.identity), self._serial, self._issued_ns):
            self._wake.set()

    async def run(self) -> None:
        """Renews it for ever; cancelled by its owner."""
        while True:
            with suppress(TimeoutError):  # and not wait_for(), which on Python 3.11 may swallow a cancellation
                async with asyncio.timeout(max(0.0, (self._renew_ns - self._clock.time_ns()) / NANOS)):
                    await self._wake.wait()
            try:
                await self.renew()
            except (SiraError, OSError):
                log.warning("the certificate of %s cannot be renewed; it is tried again", self.identity, exc_info=True)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()
