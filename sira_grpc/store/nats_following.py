"""One consumer's messages on their way into the mirror: none missing, none twice, or it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import Header

from sira_grpc.store.nats_assembly import Part
from sira_grpc.store.nats_envelope import Damaged
from sira_grpc.store.nats_errors import Lost
from sira_grpc.store.nats_mirror import Mirror

HEARTBEAT_SECONDS = 0.5
SILENCE_SECONDS = 1.5
"""A consumer that says nothing for so long is given up; it says at least every HEARTBEAT_SECONDS that it is there."""
CONSUMER_GONE = "409"

Repair = Callable[[int, str, bytes], Awaitable[Part | None]]


class Overtaken(Exception):
    """What comes next has been compacted away, or is damaged: everything must be loaded anew."""


class Following:
    """Takes the messages of one consumer, or of reads without one.

    Args:
        mirror: what is fed.
        part: returns what a damaged message says on another replica, None if no replica has it whole.
        reply: answers a consumer that waits to hear how far this member has come.
        load: everything is loaded anew, and the messages are the last of each subject at first.

    Attributes:
        position: the last sequence that was taken.
    """

    def __init__(self, mirror: Mirror, part: Repair, reply: Callable[[str], Awaitable[None]], *, load: bool) -> None:
        self._mirror = mirror
        self._part = part
        self._reply = reply
        self._load = load
        self._began = asyncio.Event()
        self._trouble: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard_at = asyncio.get_running_loop().time()
        self._delivered = 0
        self._last = 0
        self.position = self._mirror.position

    def begin(self, pending: int, last: int) -> None:
        """Begins, with a number of messages that wait and the last sequence of the stream before that."""
        self._last = last
        if self._load:
            self._mirror.begin_load()
            self.position = 0
            if not pending:
                self._loaded(last)
        else:
            self._mirror.restart()
            if last < self.position:
                raise Lost(f"the state's stream ends at {last}, before {self.position}", sent=False)
        self._began.set()

    async def ended(self, woken: asyncio.Event) -> None:
        """Returns when the consumer is of no use any more."""
        loop = asyncio.get_running_loop()
        waking: asyncio.Future[Any] = asyncio.create_task(woken.wait())
        try:
            while not self._trouble.done() and not waking.done():
                rest = self._heard_at + SILENCE_SECONDS - loop.time()
                if rest <= 0:
                    raise Lost("the consumer has fallen silent", sent=False)
                await asyncio.wait([self._trouble, waking], timeout=rest, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()

    def stop(self) -> None:
        """Takes no more messages."""
        if not self._trouble.done():
            self._trouble.set_result(None)

    def raise_trouble(self) -> None:
        """Raises what has ended it, if it is more than silence."""
        self._trouble.result()

    async def heard(self, message: Msg) -> None:
        """Takes a message of the consumer."""
        await self._began.wait()
        if self._trouble.done():
            return
        self._heard_at = asyncio.get_running_loop().time()
        try:
            if not message.reply.startswith("$JS.ACK."):
                await self._control(message)
                return
            sequence, delivered, pending = _places(message.reply)
            if delivered != self._delivered + 1:
                raise Lost(f"message {self._delivered + 1} of the consumer is missing", sent=False)
            self._delivered = delivered
            await self.take(sequence, message.subject, message.data, pending)
        except Exception as error:  # noqa: BLE001  whatever it is, what comes after it must not be taken
            if not self._trouble.done():
                self._trouble.set_exception(error)

    async def take(self, sequence: int, subject: str, payload: bytes, pending: int) -> None:
        """Takes a message of the stream."""
        mirror = self._mirror
        if not self._load and sequence != self.position + 1:
            raise Overtaken
        try:
            part = mirror.decode(sequence, subject, payload)
        except Damaged:
            repaired = await self._part(sequence, subject, payload)
            if self._trouble.done():
                return
            if repaired is None and not self._load:
                raise Overtaken from None
            if repaired is None:
                mirror.damage(sequence, subject)
                self._take_loaded(sequence, more=pending > 0)
                return
            part = repaired
        if not self._load:
            self.position = sequence
            mirror.take(part)
            return
        mirror.load(part)
        self._take_loaded(sequence, more=pending > 0 or part.message.place < part.message.count)

    def _take_loaded(self, sequence: int, *, more: bool) -> None:
        self.position = sequence
        if not more:
            self._loaded(max(sequence, self._last))

    def _loaded(self, position: int) -> None:
        self._load = False
        self.position = position
        self._mirror.end_load(position)

    async def _control(self, message: Msg) -> None:
        headers = message.headers or {}
        if message.reply:
            await self._reply(message.reply)
        elif stalled := headers.get(Header.CONSUMER_STALLED):
            await self._reply(stalled)
        if int(headers.get("Nats-Last-Consumer", self._delivered)) > self._delivered:
            raise Lost("the last messages of the consumer are missing", sent=False)
        if headers.get(Header.STATUS) == CONSUMER_GONE:
            raise Lost("the consumer is gone", sent=False)


def _places(reply: str) -> tuple[int, int, int]:
    """Returns the sequence in the stream, that in the consumer, and how many messages wait, from an ack's subject."""
    tokens = reply.split(".")
    first = 5 if len(tokens) < 11 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3])
