"""A request on its way: the answers that have come, and when to give up."""

from __future__ import annotations

import asyncio

from nats.aio.msg import Msg
from nats.js.api import Header

from sira_grpc.store.nats_errors import Lost

NO_RESPONDERS = "503"
NOT_FOUND = "404"
END_OF_BATCH = "204"


class Waiting:
    """A request whose answers have not come."""

    __slots__ = ("_last", "_loop", "_many", "_timer", "_within", "answers", "future")

    def __init__(self, within: float, *, many: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Msg]] = self._loop.create_future()
        self.answers: list[Msg] = []
        self._many = many
        self._within = within
        self._last = self._loop.time()
        self._timer = self._loop.call_later(within, self._look)

    def take(self, message: Msg) -> None:
        """Notes an answer."""
        if self.future.done():
            return
        status = message.headers.get(Header.STATUS) if message.headers and not message.data else None
        if status == NO_RESPONDERS:
            self.future.set_exception(Lost("nobody answers for JetStream", sent=False))
        elif not self._many:
            self.answers.append(message)
            self.future.set_result(self.answers)
        elif status is not None:
            if status in {END_OF_BATCH, NOT_FOUND}:
                self.future.set_result(self.answers)
            else:
                self.future.set_exception(Lost(f"status {status}", sent=True))
        else:
            self.answers.append(message)
            self._last = self._loop.time()

    def lose(self, what: str) -> None:
        """Ends it without an answer."""
        if not self.future.done():
            self.future.set_exception(Lost(what, sent=True))

    def end(self) -> None:
        """Ends the wait, whatever came of it."""
        self._timer.cancel()
        if not self.future.done():
            self.future.cancel()
        elif not self.future.cancelled():
            self.future.exception()

    def _look(self) -> None:
        rest = self._last + self._within - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._look)
        else:
            self.lose(f"no answer came in {self._within:g} s")
