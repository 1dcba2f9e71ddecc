"""Fencing: the tokens that came with a call, which whatever is committed for it must find to be good still."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context, ContextVar, copy_context
from typing import Protocol

from sira_grpc.store.api import Check

MAX_FENCES = 4
"""Tokens that may come with one call."""


class Guard(Protocol):
    """The tokens of one call. Whoever keeps the locks makes it."""

    def refuse_stale(self) -> None:
        """Raises FencingTokenStale if a token is known to be stale already. That it returns proves nothing."""

    async def checks(self) -> Sequence[Check]:
        """Returns what a commit must assert, so that it is applied only if every token is good at that moment.

        Raises:
            FencingTokenStale: a token is not that of a holder any more.
            Conflict: the locks change too fast to tell.
            StoreUnavailable: what is not known here could not be asked.
        """

    async def caught_up(self, revision: int) -> None:
        """Returns once the locks are known as they were at a revision."""

    async def verify(self) -> None:
        """Asks the store whether every token is good, for what is written otherwise than by a commit.

        Raises: as checks().
        """


_current: ContextVar[Guard | None] = ContextVar("sira_fencing", default=None)


def enter(guard: Guard | None) -> None:
    """Makes it the guard of this task, and of those that it starts. A call has a task of its own."""
    _current.set(guard)


def current() -> Guard | None:
    """Returns the guard of what is running; None where no token came with it."""
    return _current.get()


def unfenced() -> Context:
    """Returns a copy of the context without a guard, for a task that works for others than the call that starts it."""
    context = copy_context()
    context.run(_current.set, None)
    return context
