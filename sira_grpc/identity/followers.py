"""Followers: whether everybody, at whichever member, has followed the stage of a rotation.

Watchers are known to the member that they are connected to, and one member has the rotation go on. So each member on a
shared store tells, in a record of its own, of which stage it speaks and how many there have not followed it yet. Of a
member that is live and has not spoken of the stage, that is one; a member that is not live has no watchers: they come
to another one, which is waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from sira.identity.internal.v1.follower_record_pb2 import FollowerRecord

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import Conflict, KernelStopping, StoreUnavailable
from sira_grpc.identity import names
from sira_grpc.identity.view import IdentityView
from sira_grpc.identity.watchers import Watchers
from sira_grpc.placement import Placement
from sira_grpc.store.api import ABSENT, Delete, Op, Put

RECONNECT_SECONDS = 5.0
"""How long watchers are waited for after a member has started or gone, before they are taken for gone as well."""
LOOK_SECONDS = 1.0
"""How often it is looked whether there is something to tell, while a rotation is under way."""
TELL_SECONDS = 0.25
"""Between two records, at least: each is a write to the store."""

log = logging.getLogger(__name__)


class Followers:
    """Counts those who have not followed, here and elsewhere, and tells the other members of those here.

    Args:
        view: of the store.
        commits: writes.
        watchers: of this member.
        placement: which members are live.
        clock: the time.
        shared: whether other members may be on the store.

    Attributes:
        outdated: tells how many certificates that this member holds itself are not of the authority that issues.
    """

    def __init__(
        self,
        view: IdentityView,
        commits: Commits,
        watchers: Watchers,
        placement: Placement,
        clock: Clock,
        *,
        shared: bool,
    ) -> None:
        self._view = view
        self._commits = commits
        self._watchers = watchers
        self._placement = placement
        self._clock = clock
        self._shared = shared
        self._back = clock.monotonic() + RECONNECT_SECONDS if view.rotation is not None else 0.0
        self._idle: set[str] = set()
        self._left = False
        self._news = asyncio.Event()
        self.outdated: Callable[[], int] = lambda: 0

    def look(self) -> None:
        """Has it looked soon whether there is something to tell."""
        self._news.set()

    @property
    def settling(self) -> bool:
        """Watchers may not have come back yet, after a member has started or gone."""
        return self._clock.monotonic() < self._back

    def pending(self, revision: int) -> int:
        """How many, anywhere, do not follow the stage of a revision yet."""
        return self._here(revision) + sum(
            self._there(stored.value, revision)
            for member, stored in self._view.followers.items()
            if member != self._placement.member and self._placement.is_live(member)
        )

    async def start(self) -> None:
        """Has the others wait for this member from here on: before anybody can watch it.

        Raises:
            StoreUnavailable: nothing can be written.
        """
        if self._shared:
            self._placement.changed.append(self._members_changed)
            await self._commits.run(self._commits.apply(self._telling))

    async def run(self) -> None:
        """Tells for ever; cancelled by its owner."""
        while True:
            self._news.clear()
            try:
                if self._telling():
                    await self._commits.apply(self._telling)
                    await asyncio.sleep(TELL_SECONDS)
            except (StoreUnavailable, Conflict):
                log.warning("others cannot be told who has followed the rotation; it is tried again", exc_info=True)
            with suppress(TimeoutError):  # and not wait_for(), which on Python 3.11 may swallow a cancellation
                async with asyncio.timeout(LOOK_SECONDS if self._view.rotation is not None else None):
                    await self._news.wait()

    async def leave(self) -> None:
        """Has nobody wait for this member any more. If that cannot be written, others find out that it is gone."""
        self._left = True
        if self._shared:
            with suppress(StoreUnavailable, KernelStopping):
                await self._commits.write([Delete(names.follower_key(self._placement.member))])

    async def sweep(self) -> None:
        """Forgets members that were not live the last time either: one that starts is not live for a moment.

        Raises:
            StoreUnavailable: nothing can be written.
        """
        idle = {member for member in self._view.followers if not self._placement.is_live(member)}
        for member in idle & self._idle:
            await self._commits.write([Delete(names.follower_key(member))])
        self._idle = idle - self._idle

    def _here(self, revision: int) -> int:
        return self._watchers.pending(revision) + (self.outdated() if self._shared else 0)

    @staticmethod
    def _there(record: FollowerRecord, revision: int) -> int:
        return record.pending if record.revision >= revision else max(record.pending, 1)

    def _members_changed(self) -> None:
        if self._view.rotation is not None:
            self._back = self._clock.monotonic() + RECONNECT_SECONDS
            self.look()

    def _telling(self) -> list[Op]:
        """What tells the others, if they do not know it yet."""
        if self._left:
            return []
        member, rotation = self._placement.member, self._view.rotation
        stored = self._view.followers.get(member)
        record = FollowerRecord()
        if rotation is not None:
            record.revision = rotation.revision
            record.pending = self._here(rotation.revision) + self.settling
        elif stored is not None:
            return []
        if stored is not None and stored.value == record:
            return []
        return [Put(names.follower_key(member), record.SerializeToString(), stored.revision if stored else ABSENT)]
