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

Install = Callable[[bytes, bytes], Awaitable[None]]
"""Puts a certificate with its intermediates, and its key, to use; both PEM."""


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

    async def renew(self) -> None:
        """Has a new one issued, with a new key, and puts it to use. Those before it count no more.

        Raises:
            StoreUnavailable: there can be no record of it now.
            OSError: it cannot be put to use.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        before = tuple(self._view.by_identity.get(str(self.identity), ()))
        name = str(self.identity)
        order = Order(self.identity, self._names, key.public_key(), self._ttl, requester=name, supersedes=before)
        issued = await self._issuer.order(order)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        await self._install(x509_svid.to_pem([x509_svid.read_der(der) for der in issued.chain]), private)
        self._authority, self._serial = issued.record.authority, issued.record.serial
        self._issued_ns, self._renew_ns = issued.record.issue_time.ToNanoseconds(), issued.renew_time.ToNanoseconds()

    def trust_changed(self) -> None:
        """Has it renewed if another authority issues now, or it was revoked: the kernel cannot be without it."""
        assert self._view.domain is not None, "trust has changed, so there is some"
        revoked = self._view.revoked(str(self.identity), self._serial, self._issued_ns)
        if revoked or self._view.domain.value.issuing != self._authority:
            self._wake.set()

    async def run(self) -> None:
        """Renews it for ever; cancelled by its owner."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, (self._renew_ns - self._clock.time_ns()) / NANOS))
            self._wake.clear()
            try:
                await self.renew()
            except (SiraError, OSError):
                log.warning("the certificate of %s cannot be renewed; it is tried again", self.identity, exc_info=True)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()
