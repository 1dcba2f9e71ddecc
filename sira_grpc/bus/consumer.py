"""A consumer that is connected: what it may still be sent, and what waits to be written to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

OUTBOX_BYTES = 1 << 20
"""What waits to be written to one consumer, about: one that does not read is sent no more, whatever it asked for."""
MAX_CREDIT_RECORDS = 1 << 31
MAX_CREDIT_BYTES = 1 << 40


class Consumer:
    """One stream of deliveries.

    Args:
        number: tells it from the others of the kernel.
        name: for people.
        wake: called when it can be sent more; must not block.

    Attributes:
        records, size: the credit that is left.
    """

    def __init__(self, number: int, name: str, wake: Callable[[], None]) -> None:
        self.number = number
        self.name = name
        self.records = 0
        self.size = 0
        self._wake = wake
        self._outbox: deque[bytes] = deque()
        self._waiting = 0
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._error: Exception | None = None
        self._stopped = False
        self._ended = False

    @property
    def ready(self) -> bool:
        """Whether it can be sent something now."""
        return self.records > 0 and self.size > 0 and self._waiting < OUTBOX_BYTES and not self._stopped

    def grant(self, records: int, size: int) -> None:
        """Adds to its credit."""
        self.records = min(self.records + records, MAX_CREDIT_RECORDS)
        self.size = min(self.size + size, MAX_CREDIT_BYTES)
        self._wake()

    def deliver(self, message: bytes, records: int, size: int) -> None:
        """Has a delivery written, and takes it off the credit."""
        self.records -= records
        self.size -= size
        self.send(message)

    def send(self, message: bytes) -> None:
        """Has a message written."""
        self._outbox.append(message)
        self._waiting += len(message)
        if self._waiting >= OUTBOX_BYTES:
            self._room.clear()
        self._more.set()

    async def room(self) -> None:
        """Returns when it has read enough for another message: for those who have to send one, and can wait."""
        await self._room.wait()

    def stop(self) -> None:
        """Has nothing delivered any more."""
        self._stopped = True

    def end(self, error: Exception | None = None) -> None:
        """Ends the stream once everything was written; with an error, at once."""
        self._stopped = self._ended = True
        self._error = self._error or error
        self._more.set()

    async def next(self) -> bytes | None:
        """Returns the next message to write; None at the end.

        Raises:
            the error that it was ended with.
        """
        while True:
            if self._error is not None:
                raise self._error
            if self._outbox:
                message = self._outbox.popleft()
                blocked = self._waiting >= OUTBOX_BYTES
                self._waiting -= len(message)
                if blocked and self._waiting < OUTBOX_BYTES:
                    self._room.set()
                    self._wake()
                return message
            if self._ended:
                return None
            self._more.clear()
            await self._more.wait()
