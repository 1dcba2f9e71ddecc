"""One identity that the agent holds: issued when it is wanted, and renewed with a new key before it expires."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from sira.identity.v1.identity_service_pb2 import IssueCertificateResponse
from sira_client.backoff import Backoff
from sira_client.clock import Clock

from sira_grpc.agent import keyed_svid
from sira_grpc.agent.alarm import Alarm
from sira_grpc.agent.failures import Refused, Unready
from sira_grpc.agent.keyed_svid import KeyedSvid
from sira_grpc.agent.trust import Trust
from sira_grpc.svid import signing_request
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.svid.x509_svid import SvidError

_log = logging.getLogger(__name__)

Issue = Callable[[bytes, str], Awaitable[IssueCertificateResponse]]
"""Has the kernel issue a certificate for a request, DER, in the place of the one with a serial number, if it is not
empty. Raises Refused or Unready."""

FIRST_RETRY, LONGEST_RETRY = 0.5, 30.0
"""Seconds between attempts: the most before the first and before any."""
JITTER = 0.1
"""Part of what is left until a renewal is due, by which it is begun earlier at most, so that not all come at once."""


class HeldIdentity:
    """An identity and its certificate, which is replaced by the next one only when that is there.

    Args:
        identity: the SPIFFE ID.
        dns_names: that the certificate is asked for besides those that come with the identity.
        issue: see Issue.
        changed: called when `svid` or `trouble` is another.
        clock, random: time and chance.
        svid: what is there already.
        supersedes: serial number of what is given up for the first one that is issued; empty for nothing.
    """

    def __init__(
        self,
        identity: SpiffeId,
        dns_names: Sequence[str],
        *,
        issue: Issue,
        changed: Callable[[], None],
        clock: Clock,
        random: Random,
        svid: KeyedSvid | None = None,
        supersedes: str = "",
    ) -> None:
        self.identity = identity
        self.svid: KeyedSvid | None = None
        """The current one. None until there is one, and after it has expired."""
        self.trouble: Refused | Unready | None = None
        """Why the last attempt to have one issued failed. None if it did not."""
        self._dns_names = tuple(dns_names)
        self._issue = issue
        self._changed = changed
        self._clock = clock
        self._random = random
        self._backoff = Backoff(FIRST_RETRY, LONGEST_RETRY, random)
        self._alarm = Alarm(clock)
        self._authority = ""
        self._due = 0.0
        self._spread_until = 0.0
        self.serial = supersedes
        """Serial number of the last one, also when that has expired. Empty if there was none."""
        self._asked = False
        if svid is not None:
            self._hold(svid)

    @property
    def outdated(self) -> bool:
        """It was issued by another authority than the one that issues now."""
        return bool(self.svid and self._authority and self.svid.authority != self._authority)

    def heed(self, trust: Trust) -> None:
        """Has it renewed if another authority issues now, within the time that the trust says, or it was revoked."""
        if trust.authority != self._authority:
            self._authority = trust.authority
            self._spread_until = self._now() + self._random.uniform(0.0, trust.renew_within)
        if self.svid is not None and trust.revokes(self.svid.serial):
            _log.warning("the certificate %s of %s was revoked", self.svid.serial, self.identity)
            self._asked = True
        if self.outdated or self._asked:
            self._alarm.ring()

    def renew(self) -> None:
        """Has it renewed at once."""
        self._asked = True
        self._alarm.ring()

    async def run(self) -> None:
        """Keeps it, for ever."""
        while True:
            self._expire()
            wait = self._wait()
            if wait > 0:
                await self._alarm.wait(min(wait, self._left()))
                continue
            pause = await self._attempt()
            if pause is not None:
                await self._alarm.wait(min(pause, self._left()))

    async def _attempt(self) -> float | None:
        """Tries to have it issued. Returns the seconds to wait before the next attempt, if one is needed."""
        key, csr = signing_request.make(self.identity, self._dns_names)
        try:
            response = await self._issue(csr, self.serial)
            svid = keyed_svid.accept(response, key, self.identity, now=self._now())
        except (Refused, Unready) as error:
            return self._failed(error)
        except SvidError as error:
            return self._failed(Unready(f"the kernel issued what cannot be used: {error}"))
        self._asked = False
        self._hold(svid)
        self.trouble = None
        _log.info("%s has the certificate %s, valid for %.0f s", self.identity, svid.serial, self._left())
        self._changed()
        if self._wait() > 0:
            self._backoff.reset()
            return None
        # It is due again already: the kernel's clock is another, or it issues with another authority than it says.
        return self._backoff.next()

    def _failed(self, error: Refused | Unready) -> float:
        log = _log.debug if str(error) == str(self.trouble) else _log.warning
        log("no certificate for %s: %s", self.identity, error)
        self.trouble = error
        self._changed()
        return self._backoff.next(error.retry_after)

    def _hold(self, svid: KeyedSvid) -> None:
        self.svid = svid
        self.serial = svid.serial
        early = self._random.uniform(0.0, JITTER) * max(0.0, svid.renew_at - self._now())
        self._due = svid.renew_at - early

    def _expire(self) -> None:
        if self.svid is not None and self._left() <= 0:
            _log.error("the certificate %s of %s has expired", self.svid.serial, self.identity)
            self.svid = None
            self._changed()

    def _wait(self) -> float:
        """Seconds until it is due to be renewed."""
        if self.svid is None or self._asked:
            return 0.0
        due = min(self._due, self._spread_until) if self.outdated else self._due
        return due - self._now()

    def _left(self) -> float:
        """Seconds until it expires; more than anybody waits if there is none."""
        return self.svid.not_after - self._now() if self.svid is not None else float("inf")

    def _now(self) -> float:
        return self._clock.time_ns() / 1e9
