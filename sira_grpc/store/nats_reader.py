"""Reading single messages and runs of them from a stream: quickly from any replica, or surely from its leader."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nats.aio.msg import Msg

from sira_grpc.store.nats_errors import NO_MESSAGE, Lost, Refused
from sira_grpc.store.nats_link import Link

READ_SECONDS = 1.5
"""A request to read is tried again after so long."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it lies in a stream."""

    sequence: int
    subject: str
    payload: bytes


class StreamReader:
    """Reads one stream."""

    def __init__(self, link: Link, stream: str) -> None:
        self._link = link
        self._stream = stream

    async def run(self, sequence: int, *, max_messages: int, max_bytes: int, subject: str = "") -> Sequence[Stored]:
        """Reads messages from a sequence on, in order, from whichever replica answers: it may lag.

        Args:
            sequence: the first to read; what is not there is skipped.
            max_messages, max_bytes: about how much; one message at least.
            subject: read only these; empty for all.

        Raises:
            Lost: no answer came.
        """
        body: dict[str, int | str] = {"seq": sequence, "batch": max_messages, "max_bytes": max(1, max_bytes)}
        if subject:
            body["next_by_subj"] = subject
        call = f"$JS.API.DIRECT.GET.{self._stream}"
        answers = await self._link.request_many(call, json.dumps(body).encode(), within=READ_SECONDS)
        return [_stored(message) for message in answers]

    async def last(self, subject: str) -> Stored | None:
        """Asks the leader for the last message of a subject.

        Raises:
            Lost, Refused: no answer came, or it is an error.
        """
        return await self._leader({"last_by_subj": subject})

    async def at(self, sequence: int, subject: str = "") -> Stored | None:
        """Asks the leader for the message at a sequence; with a subject, for the first of it from there on.

        Raises:
            Lost, Refused: no answer came, or it is an error.
        """
        return await self._leader({"seq": sequence, "next_by_subj": subject} if subject else {"seq": sequence})

    async def _leader(self, body: Mapping[str, int | str]) -> Stored | None:
        try:
            found = await self._link.api(f"STREAM.MSG.GET.{self._stream}", body, within=READ_SECONDS)
        except Refused as error:
            if error.code == NO_MESSAGE:
                return None
            raise
        message = found["message"]
        return Stored(int(message["seq"]), str(message["subject"]), base64.b64decode(message.get("data") or ""))


def _stored(message: Msg) -> Stored:
    headers = message.headers or {}
    try:
        return Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data)
    except (KeyError, ValueError) as error:
        raise Lost("the answer is no message of a stream", sent=False) from error
