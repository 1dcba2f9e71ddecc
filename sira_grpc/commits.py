"""Commands that write: each runs to its end in a task of its own, whether its caller stays or goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from sira_grpc import fencing
from sira_grpc.errors import Conflict, LimitExceeded, SiraError
from sira_grpc.fencing import MAX_FENCES, Guard
from sira_grpc.store.api import MAX_OPS, Check, Op, StateStore

ATTEMPTS = 8
FENCED_ATTEMPTS = 32
"""Tries of a commit whose fence changes meanwhile: the queue of a lock may grow quickly while its holder stays."""
MAX_CHANGES = MAX_OPS - MAX_FENCES
"""Operations of a plan that leave room for the checks of fencing tokens."""

T = TypeVar("T")


class View(Protocol):
    """An image of the store that plans are made from."""

    @property
    def revision(self) -> int:
        """Everything up to it is in the view."""

    async def caught_up(self, revision: int) -> None:
        """Returns once everything up to a revision is in the view."""


class Commits:
    """Commits plans against the view, and waits until the view shows them."""

    def __init__(self, store: StateStore, view: View) -> None:
        self._store = store
        self._view = view
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, command: Coroutine[Any, Any, T]) -> T:
        """Runs a command to its end even if the caller is cancelled."""
        task = asyncio.create_task(command)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller that went away is not there to hear it

    async def close(self) -> None:
        """Waits for the commands under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def apply(self, plan: Callable[[], Sequence[Op]]) -> int:
        """Commits what a plan says and returns the revision, once the view shows it.

        The plan reads the view and says what to write, with the revisions it has seen. When another write came in
        between, it is asked again, and once before what it refuses is refused: see sure(). A plan without operations
        changes nothing.

        Raises:
            Conflict: it came in between eight times.
        """
        for _ in range(ATTEMPTS):
            ops = await self.sure(plan)
            if not ops:
                return self._view.revision
            with suppress(Conflict):
                return await self.write(ops)
        raise Conflict("other writes came in between too many times; try again", retry_after=0.1)

    async def sure(self, look: Callable[[], T]) -> T:
        """Returns what `look` finds in the view, or raises what it raises: then the view is as new as the store.

        Another member may have written what is not in the view yet, and told its caller so. That costs a round trip
        to the store where something is refused, and nothing otherwise.

        Raises:
            StoreUnavailable: it is not to be found out whether the refusal is right.
        """
        try:
            return look()
        except SiraError as error:
            if not error.of_state:
                raise
        await self.catch_up()
        return look()

    async def catch_up(self) -> None:
        """Returns once the view shows everything that anybody was told is written.

        Raises:
            StoreUnavailable: that is not to be found out.
        """
        await self._view.caught_up(await self._store.sync())

    async def write(self, ops: Sequence[Op]) -> int:
        """Commits operations and returns the revision, once the view shows it.

        For a call that came with fencing tokens, only if these are good at that moment.

        Raises:
            Conflict: another write came in between. The view shows that one by now.
            FencingTokenStale: a lock that fences the call has gone on. Nothing was changed.
            LimitExceeded: the tokens leave no room for so many operations. Nothing was changed.
            StoreUnavailable: the store cannot write. Nothing was changed.
        """
        guard = fencing.current()
        revision = await (self._commit(ops) if guard is None else self._commit_fenced(ops, guard))
        await self._view.caught_up(revision)
        return revision

    async def _commit(self, ops: Sequence[Op]) -> int:
        try:
            return await self._store.commit(ops)
        except Conflict:
            await self._view.caught_up(self._store.revision)
            raise

    async def _commit_fenced(self, ops: Sequence[Op], guard: Guard) -> int:
        expected = {op.key: op.expected for op in ops}
        for _ in range(FENCED_ATTEMPTS):
            checks = [check for check in await guard.checks() if not _asserted(check, expected)]
            if len(ops) + len(checks) > MAX_OPS:
                raise LimitExceeded(
                    f"{len(ops)} changes at once, with {len(checks)} fencing tokens: at most {MAX_OPS} together",
                    metadata={"limit": "changes", "value": str(MAX_OPS)},
                )
            try:
                return await self._commit([*ops, *checks])
            except Conflict as conflict:
                await guard.caught_up(self._store.revision)
                if conflict.metadata.get("key") not in {check.key for check in checks}:
                    raise
        raise Conflict("the locks that fence this call change too fast; try again", retry_after=0.1)


def _asserted(check: Check, expected: Mapping[str, int | None]) -> bool:
    """Whether the operations themselves write the entry that is to be checked, and only as it is expected to be.

    Raises:
        Conflict: they expect it otherwise: they were planned before it was as it is.
    """
    if check.key not in expected:
        return False
    if expected[check.key] != check.expected:
        raise Conflict(f"key {check.key}: it was written since the change was planned", metadata={"key": check.key})
    return True


async def in_chunks(write: Callable[[Sequence[Op]], Awaitable[int]], groups: Sequence[Sequence[Op]], size: int) -> int:
    """Writes groups of operations, each whole, in commits of at most `size`; returns the last revision."""
    size = min(size, MAX_CHANGES)
    revision, chunk = 0, list[Op]()
    for group in groups:
        if len(chunk) + len(group) > size:
            revision = await write(chunk)
            chunk = []
        chunk.extend(group)
    return await write(chunk) if chunk else revision
