"""Forgets members that have been dead for a while: one member does it for all."""

from __future__ import annotations

import logging
from contextlib import suppress

from sira_grpc.clock import Clock
from sira_grpc.cluster import names
from sira_grpc.cluster.duties import Duties
from sira_grpc.cluster.live_members import LiveMembers
from sira_grpc.cluster.membership import Pause
from sira_grpc.commits import Commits
from sira_grpc.errors import Conflict, NotOwner, SiraError
from sira_grpc.store.api import Delete

DUTY = "cluster-members"
KEPT_SECONDS = 60.0
"""How long the record of a dead member is kept, for people to see."""
EVERY_SECONDS = 10.0

log = logging.getLogger(__name__)


class Forgetting:
    """Deletes the records of the dead. A member that was only slow writes its own anew."""

    def __init__(self, live: LiveMembers, duties: Duties, commits: Commits, clock: Clock, pause: Pause) -> None:
        self._live = live
        self._duties = duties
        self._commits = commits
        self._clock = clock
        self._pause = pause

    async def run(self) -> None:
        """Does it for ever; cancelled by its owner."""
        while True:
            await self._pause(EVERY_SECONDS)
            try:
                await self.once()
            except NotOwner:
                pass  # it is told by being cancelled
            except SiraError as error:
                log.warning("dead members were not forgotten; it is tried again: %s", error)

    async def once(self) -> None:
        """Forgets those that have been dead for long enough.

        Raises:
            NotOwner: the duty is another member's.
            StoreUnavailable: the store takes no writes.
        """
        for entry in self._live.dead_since(self._clock.monotonic() - KEPT_SECONDS):
            with suppress(Conflict):  # it is heard again, or another member has taken the duty
                delete = Delete(names.member_key(entry.member), entry.revision)
                await self._commits.write([delete, self._duties.guard(DUTY)])
