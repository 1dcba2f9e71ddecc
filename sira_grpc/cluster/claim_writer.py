"""Writes locks: each change is one compare-and-set of the one key of a lock, planned anew where others were faster."""

from __future__ import annotations

import random
from asyncio import sleep
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sira.cluster.internal.v1.lock_record_pb2 import LockRecord

from sira_grpc.clock import Clock
from sira_grpc.cluster.claim_contact import StoreContact
from sira_grpc.cluster.claim_turns import Turns
from sira_grpc.cluster.lock_view import LockEntry, LockView
from sira_grpc.commits import Commits
from sira_grpc.errors import Conflict
from sira_grpc.store.api import ABSENT, Delete, Op, Put

ROUNDS = 8
"""Rounds of tries of one change, where members are in each other's way."""
PAUSE_SECONDS = 0.05
"""Between two rounds, at most."""

Plan = Callable[[LockEntry | None], LockRecord | None]
"""Says what a lock is to be: the very record of the entry for no change, None for nothing at all."""


class ClaimWriter:
    """Changes locks, one change of each at a time: those of one member would only be in each other's way."""

    def __init__(
        self, view: LockView, commits: Commits, contact: StoreContact, clock: Clock, rng: random.Random
    ) -> None:
        self._view = view
        self._commits = commits
        self._contact = contact
        self._clock = clock
        self._rng = rng
        self._turns = Turns()

    async def run(self, lock: str, plan: Plan) -> None:
        """Changes a lock in its turn, to the end even if the caller is cancelled. See write()."""
        await self._commits.run(self.write(lock, plan))

    async def write(self, lock: str, plan: Plan) -> None:
        """Changes a lock in its turn.

        Raises: what the plan raises, and
            Conflict: other members came in between too many times.
            StoreUnavailable: it is as it was, or that is not known.
        """
        async with self.turn(lock):
            await self.change(lock, plan)

    @asynccontextmanager
    async def turn(self, lock: str) -> AsyncIterator[None]:
        """Has nobody else on this member change a lock while the block runs."""
        async with self._turns.taking(lock):
            yield

    async def change(self, lock: str, plan: Plan) -> None:
        """Changes a lock in a turn that was taken before. See write()."""
        ops: list[Op] = []

        def planned() -> list[Op]:
            nonlocal ops
            entry = self._view.entries.get(lock)
            ops = _ops(lock, entry, plan(entry))
            return ops

        for left in reversed(range(ROUNDS)):
            begun = self._clock.monotonic()
            try:
                await self._commits.apply(planned)
            except Conflict:
                if not left:
                    raise
                await sleep(self._rng.uniform(0.0, PAUSE_SECONDS))
            else:
                if ops:
                    self._contact.heard(begun)
                return


def _ops(lock: str, entry: LockEntry | None, record: LockRecord | None) -> list[Op]:
    """Returns what makes an entry a record."""
    if entry is None:
        return [Put(lock, record.SerializeToString(), ABSENT)] if record is not None else []
    if record is entry.record:
        return []
    if record is None:
        return [Delete(lock, entry.revision)]
    return [Put(lock, record.SerializeToString(), entry.revision)]
