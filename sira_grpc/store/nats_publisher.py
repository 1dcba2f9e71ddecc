"""Publishing to a stream: a single message, or several as one atomic batch, each with what it expects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nats.js.api import Header

from sira_grpc.store.nats_errors import Lost, Refused
from sira_grpc.store.nats_link import Link, answer

EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
BATCHES_IN_FLIGHT = 24
"""Batches of one stream that are under way at once; servers allow 50, from all members together."""
_BUSY = frozenset({10176, 10210, 10211})
"""Errors of a batch that was not begun, or lost its beginning, or met too many others: nothing was applied."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and what it expects.

    Attributes:
        expected: the last sequence of the subject, or of the stream, that must be there.
        of_stream: expected is about the stream.
        of_subject: the subject that expected is about, if it is another than the message's own.
    """

    subject: str
    payload: bytes
    expected: int
    of_stream: bool = False
    of_subject: str = ""

    def headers(self) -> dict[str, str]:
        """The expectation as the server reads it; none for one about the stream of which an earlier message says it."""
        if self.of_stream:
            return {Header.EXPECTED_LAST_SEQUENCE.value: str(self.expected)} if self.expected >= 0 else {}
        found = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(self.expected)}
        if self.of_subject:
            found[EXPECTED_SUBJECT] = self.of_subject
        return found


class Publisher:
    """Publishes to one stream."""

    def __init__(self, link: Link, random_bytes: Callable[[int], bytes]) -> None:
        self._link = link
        self._random_bytes = random_bytes
        self._batches = asyncio.Semaphore(BATCHES_IN_FLIGHT)

    async def publish(self, messages: Sequence[Outgoing], *, within: float) -> int:
        """Publishes messages, all or none, and returns the sequence of the last once they are durable.

        Raises:
            Refused: an expectation is not met, or the server cannot store them. None was stored.
            Lost: no answer came.
        """
        if len(messages) == 1:
            only = messages[0]
            return await self._finish(only, only.headers(), within)
        async with self._batches:
            return await self._batch(messages, within)

    async def _batch(self, messages: Sequence[Outgoing], within: float) -> int:
        batch = {Header.BATCH_ID.value: self._random_bytes(12).hex()}
        for number, message in enumerate(messages[:-1], 1):
            batch[Header.BATCH_SEQUENCE.value] = str(number)
            await self._link.send(message.subject, message.payload, {**message.headers(), **batch})
        batch |= {Header.BATCH_SEQUENCE.value: str(len(messages)), Header.BATCH_COMMIT.value: "1"}
        return await self._finish(messages[-1], {**messages[-1].headers(), **batch}, within)

    async def _finish(self, message: Outgoing, headers: dict[str, str], within: float) -> int:
        reply = await self._link.request(message.subject, message.payload, within=within, headers=headers)
        try:
            body = answer(reply)
        except Refused as error:
            if error.code in _BUSY:
                raise Lost(error.description, sent=False) from error
            raise
        sequence = body.get("seq")
        if not isinstance(sequence, int):
            raise Lost("the answer names no sequence", sent=True)
        return sequence
