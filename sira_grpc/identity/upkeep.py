"""Upkeep: intermediates are replaced before they expire, roots rotated, and records that are over forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from cryptography import x509

from sira_grpc.clock import Clock
from sira_grpc.errors import SiraError
from sira_grpc.identity import names
from sira_grpc.identity.followers import Followers
from sira_grpc.identity.join_tokens import JoinTokens
from sira_grpc.identity.member import MemberCredentials
from sira_grpc.identity.members import UPKEEP
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
    """What is done every half minute: some of it on each member, and what is for all of them by one."""

    def __init__(
        self,
        opened: Opened,
        rotator: Rotator,
        followers: Followers,
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
        self._members = opened.members
        self._rotator = rotator
        self._followers = followers
        self._records = records
        self._tokens = tokens
        self._member = member
        self._clock = clock
        self._retention_ns = round(retention * NANOS)

    async def run(self) -> None:
        """Does what each member does, for ever; cancelled by its owner."""
        while True:
            self.here()
            await asyncio.sleep(EVERY_SECONDS)

    def here(self) -> None:
        """Does what each member does for itself."""
        self._member.refresh()
        self._view.expire(self._view.expired(self._over_ns))  # forgets those whose records another one has deleted

    async def run_for_all(self) -> None:
        """Does what one member does for all, for ever, while it is this member's to do; cancelled by its owner."""
        await self._members.run(UPKEEP, self._run_for_all)

    async def once(self) -> None:
        """Does for all what is due.

        Raises:
            StoreUnavailable: nothing can be written now.
            NotOwner, Conflict: it is another member's to do.
        """
        now_ns, over_ns = self._clock.time_ns(), self._over_ns
        await self.renew_intermediate(guard=self._guard)
        await self._rotate_root(now_ns / NANOS)
        await self._records.sweep(before_ns=over_ns)
        await self._tokens.sweep(before_ns=over_ns)
        await self._followers.sweep()

    async def renew_intermediate(self, *, guard: Callable[[], Sequence[Op]] = tuple) -> None:
        """Replaces the intermediate that issues if half of its life is over; warns where an external authority must.

        Args:
            guard: returns what goes with the commit.

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
            key = names.authority_key(authority.id)
            return [Put(key, renewed.record.SerializeToString(), stored.revision), *guard()]

        await self._commits.run(self._commits.apply(plan))
        log.info("authority %s has a new intermediate", authority.id)

    async def _rotate_root(self, now: float) -> None:
        authority = self._keyring.issuing()
        if self._view.rotation is None and not authority.external and _lived(authority.root, now) >= ROOT_SHARE:
            log.warning("the root of authority %s nears its end: it is rotated", authority.id)
            await self._rotator.start(guard=self._guard)

    async def _run_for_all(self) -> None:
        while True:
            try:
                await self.once()
            except SiraError:
                log.warning("the upkeep of identity was not done; it is tried again", exc_info=True)
            await asyncio.sleep(EVERY_SECONDS)

    @property
    def _over_ns(self) -> int:
        """Before when something must have expired to be forgotten now."""
        return self._clock.time_ns() - self._retention_ns

    def _guard(self) -> list[Op]:
        return self._members.guard(UPKEEP)


def _lived(certificate: x509.Certificate, now: float) -> float:
    """Part of its life that a certificate has behind it."""
    start, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return (now - start) / (end - start)
