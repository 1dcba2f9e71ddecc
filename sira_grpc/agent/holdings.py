"""All identities that the agent holds, each for as long as somebody uses it, and what is trusted beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from sira_client.clock import Clock

from sira_grpc.agent.held_identity import HeldIdentity, Issue
from sira_grpc.agent.keyed_svid import KeyedSvid
from sira_grpc.agent.trust import Trust
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.watch import ChangeFeed

_log = logging.getLogger(__name__)

LINGER_SECONDS = 300.0
"""How long an identity is kept after its last user has left: programs come back, and restart."""
_STATE = "state"

Key = tuple[SpiffeId, tuple[str, ...]]
"""What tells held identities apart: the SPIFFE ID and the DNS names."""


@dataclass
class _Holding:
    held: HeldIdentity
    task: asyncio.Task[None]
    users: int = 0
    farewell: asyncio.TimerHandle | None = None


class Lease:
    """The use of a held identity. To be closed."""

    def __init__(self, held: HeldIdentity, close: Callable[[], None]) -> None:
        self.held = held
        self._close: Callable[[], None] | None = close

    def close(self) -> None:
        """Ends the use. Idempotent."""
        close, self._close = self._close, None
        if close is not None:
            close()


class Holdings:
    """The agent's own identity, those of others, and the trust that all of them live by.

    Whoever hands them on follows a feed: `streams` those that are read by programs, `files` what is on disk. The items
    of a feed say nothing; a change of its revision says that something is another.

    Args:
        trust: that is known at the start.
        own: the agent's identity at the start.
        issue: see held_identity.Issue.
        clock, random: time and chance.
        linger: see LINGER_SECONDS.

    Must be made on the event loop that it runs on.
    """

    def __init__(
        self,
        trust: Trust,
        own: KeyedSvid,
        *,
        issue: Issue,
        clock: Clock,
        random: Random,
        linger: float = LINGER_SECONDS,
    ) -> None:
        self.trust = trust
        self.streams = ChangeFeed(compacted=0, revision=1)
        self.files = ChangeFeed(compacted=0, revision=1)
        self.failed = asyncio.Event()
        """A task has ended that must not."""
        self._issue = issue
        self._clock = clock
        self._random = random
        self._linger = linger
        self._holdings: dict[Key, _Holding] = {}
        self._given_up: dict[Key, str] = {}  # serial numbers of what was let go; as many as there are entries, at most
        self.own = self._hold((own.identity, own.dns_names), own).held
        """The agent's own identity."""

    @property
    def held(self) -> Sequence[HeldIdentity]:
        """All that is held."""
        return [holding.held for holding in self._holdings.values()]

    def adopt(self, trust: Trust) -> None:
        """Lives by another trust from now on: what another authority issued, or what is revoked, is renewed at once."""
        self.trust = trust
        for held in self.held:
            held.heed(trust)
        self.changed()

    def lease(self, identity: SpiffeId, dns_names: Sequence[str], *, supersedes: str = "") -> Lease:
        """Has an identity held for as long as the lease is not closed.

        Args:
            identity: the SPIFFE ID.
            dns_names: see HeldIdentity.
            supersedes: serial number of one that an agent before this one held; empty for none.
        """
        key = (identity, tuple(dns_names))
        if supersedes:
            self._given_up.setdefault(key, supersedes)
        holding = self._holdings.get(key) or self._hold(key, None)
        holding.users += 1
        if holding.farewell is not None:
            holding.farewell.cancel()
            holding.farewell = None
        return Lease(holding.held, lambda: self._left(key, holding))

    async def renewed(self) -> None:
        """Returns once everything that is held was issued by the authority that issues now."""
        subscriber = self.streams.subscribe(self.streams.revision)
        try:
            while any(held.outdated for held in self.held) and not self.streams.closed:
                await subscriber.wait()
                subscriber.sent(self.streams.revision)
        finally:
            subscriber.close()

    def changed(self) -> None:
        """Tells the feeds."""
        now = asyncio.get_running_loop().time()
        for feed in (self.streams, self.files):
            feed.touch(_STATE, feed.revision + 1)
            feed.publish(now)

    async def close(self) -> None:
        """Lets everything go."""
        self.streams.close()
        self.files.close()
        holdings = list(self._holdings.values())
        self._holdings.clear()
        for holding in holdings:
            if holding.farewell is not None:
                holding.farewell.cancel()
            holding.task.cancel()
        await asyncio.gather(*(holding.task for holding in holdings), return_exceptions=True)

    def _hold(self, key: Key, svid: KeyedSvid | None) -> _Holding:
        identity, dns_names = key
        held = HeldIdentity(
            identity,
            dns_names,
            issue=self._issue,
            changed=self.changed,
            clock=self._clock,
            random=self._random,
            svid=svid,
            supersedes=self._given_up.pop(key, ""),
        )
        held.heed(self.trust)
        task = asyncio.create_task(held.run(), name=f"the certificate of {identity}")
        task.add_done_callback(self._ended)
        holding = self._holdings[key] = _Holding(held, task)
        return holding

    def _left(self, key: Key, holding: _Holding) -> None:
        holding.users -= 1
        if holding.users == 0 and self._holdings.get(key) is holding and holding.held is not self.own:
            loop = asyncio.get_running_loop()
            holding.farewell = loop.call_later(self._linger, self._let_go, key, holding)

    def _let_go(self, key: Key, holding: _Holding) -> None:
        _log.info("%s is used by nobody any more", holding.held.identity)
        del self._holdings[key]
        if holding.held.serial:
            self._given_up[key] = holding.held.serial
        holding.task.cancel()
        self.changed()  # nobody need wait for it any more

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.critical("%s ended", task.get_name(), exc_info=error)
            self.failed.set()
