"""Upkeep: intermediates are replaced before they expire, roots rotated, and records that are over forgotten."""

from __future__ import annotations

import asyncio
import logging

from cryptography import x509

from sira_grpc.clock import Clock
from sira_grpc.errors import SiraError
from sira_grpc.identity import names
from sira_grpc.identity.join_tokens import JoinTokens
from sira_grpc.identity.member import MemberCredentials
from sira_grpc.identity.opening import Opened
from sira_grpc.identity.records import Records
from sira_grpc.identity.rotation import Rotator
from sira_grpc.store.api import Op, Put
from sira_grpc.times import NANOS

EVERY_SECONDS = 30.0
ROOT_SHARE = 5 / 6
"""Part of a root's life after which it is rotated."""

log = logging.getLogger(__name__)


class Upkeep:
    """What is done every half minute."""

    def __init__(
        self,
        opened: Opened,
        rotator: Rotator,
        records: Records,
        tokens: JoinTokens,
        member: MemberCredentials,
        clock: Clock,
        *,
        retention: float,
    ) -> None:
        self._view = opened.view
        self._commits = opened.commits
        self._keyring = opened.keyring
        self._forge = opened.forge
        self._sealer = opened.sealer
        self._rotator = rotator
        self._records = records
        self._tokens = tokens
        self._member = member
        self._clock = clock
        self._retention_ns = round(retention * NANOS)

    async def run(self) -> None:
        """Does it for ever; cancelled by its owner."""
        while True:
            try:
                await self.once()
            except SiraError:
                log.warning("the upkeep of identity was not done; it is tried again", exc_info=True)
            await asyncio.sleep(EVERY_SECONDS)

    async def once(self) -> None:
        """Does what is due.

        Raises:
            StoreUnavailable: nothing can be written now.
        """
        now_ns = self._clock.time_ns()
        self._member.refresh()
        await self.renew_intermediate()
        await self._rotate_root(now_ns / NANOS)
        await self._records.sweep(before_ns=now_ns - self._retention_ns)
        await self._tokens.sweep(before_ns=now_ns - self._retention_ns)

    async def renew_intermediate(self) -> None:
        """Replaces the intermediate that issues if half of its life is over; warns where an external authority must.

        Raises:
            StoreUnavailable: nothing can be written now.
        """
        authority, now = self._keyring.issuing(), self._clock.time_ns() / NANOS
        if _lived(authority.issuer, now) < 1 / 2:
            return
        if authority.external:
            left = authority.issuer.not_valid_after_utc.timestamp() - now
            log.warning("the intermediate of the external authority expires in %.0f h: name another one", left / 3600)
            return
        if authority.issuer.not_valid_after_utc >= authority.root.not_valid_after_utc:
            return  # a new one would expire no later
        renewed = await asyncio.to_thread(self._forge.renewed, authority, self._sealer, now_ns=self._clock.time_ns())

        def plan() -> list[Op]:
            stored = self._view.authorities.get(authority.id)
            if stored is None or stored.value != authority.record:
                return []
            return [Put(names.authority_key(authority.id), renewed.record.SerializeToString(), stored.revision)]

        await self._commits.run(self._commits.apply(plan))
        log.info("authority %s has a new intermediate", authority.id)

    async def _rotate_root(self, now: float) -> None:
        authority = self._keyring.issuing()
        if self._view.rotation is None and not authority.external and _lived(authority.root, now) >= ROOT_SHARE:
            log.warning("the root of authority %s nears its end: it is rotated", authority.id)
            await self._rotator.start()


def _lived(certificate: x509.Certificate, now: float) -> float:
    """Part of its life that a certificate has behind it."""
    start, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return (now - start) / (end - start)
