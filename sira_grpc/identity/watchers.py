"""Watchers of the trust state: what each has been sent and has put to use, which a rotation waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from sira_grpc.clock import Clock
from sira_grpc.errors import FieldViolation, InvalidField, SiraError
from sira_grpc.identity.trust import Trust

LOOK_SECONDS = 900.0
"""How often it is looked whether revocation lists are to be made anew."""


class Watchers:
    """The open watches.

    Attributes:
        advanced: called when one has come, has put something to use, or has left; must not block.
    """

    def __init__(self, trust: Trust, clock: Clock) -> None:
        self._trust = trust
        self._clock = clock
        self._open: set[Watcher] = set()
        self.advanced: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def open(self, *, acknowledges: bool) -> Watcher:
        """Adds a watcher; it must be closed."""
        watcher = Watcher(self, self._trust, acknowledges=acknowledges)
        self._open.add(watcher)
        self.advanced()
        return watcher

    def pending(self, revision: int) -> int:
        """How many do not use the state of a revision, or a later one, yet."""
        return sum(watcher.known < revision for watcher in self._open)

    def wake(self, revision: int) -> None:
        """Has everybody sent the state as it is."""
        for watcher in self._open:
            watcher.wake()

    async def run(self) -> None:
        """Has revocation lists sent again before they expire, for ever; cancelled by its owner."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Has everybody sent the state again if its revocation lists are to be made anew."""
        if self._trust.stale:
            self.wake(self._trust.revision)

    def closed(self, watcher: Watcher) -> None:
        """Forgets a watcher."""
        self._open.discard(watcher)
        self.advanced()


class Watcher:
    """One watch. Used by one task, but for acknowledge() and fail()."""

    def __init__(self, watchers: Watchers, trust: Trust, *, acknowledges: bool) -> None:
        self._watchers = watchers
        self._trust = trust
        self._acknowledges = acknowledges
        self._sent = 0
        self._known = 0
        self._news = asyncio.Event()
        self._error: SiraError | None = None

    @property
    def known(self) -> int:
        """Revision of what it uses."""
        return self._known

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """Yields the state as it is, then again whenever it has changed; a slow reader gets the latest.

        Raises, from the iteration:
            SiraError: what fail() was told.
        """
        while True:
            self._news.clear()
            state = await self._trust.state()
            if self._error is not None:
                raise self._error
            self._sent = state.revision
            yield state.message
            if not self._acknowledges:
                self._use(state.revision)
            await self._news.wait()

    def acknowledge(self, revision: int) -> None:
        """Notes that a state is in use.

        Raises:
            InvalidField: it was never sent.
        """
        if revision > self._sent:
            rule = f"must be of a state that was sent; the latest has {self._sent}"
            raise InvalidField([FieldViolation("ack.revision", rule)])
        if self._acknowledges:
            self._use(revision)

    def fail(self, error: SiraError) -> None:
        """Ends the messages with an error."""
        self._error = error
        self._news.set()

    def wake(self) -> None:
        """Has the state sent as it is."""
        self._news.set()

    def close(self) -> None:
        """Leaves."""
        self._watchers.closed(self)

    def _use(self, revision: int) -> None:
        self._known = max(self._known, revision)
        self._watchers.advanced()
