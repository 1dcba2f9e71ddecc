"""Following the state's stream into the mirror: every message once and in order, over reconnections and elections.

A push consumer delivers the messages. It is made anew, after the last message that the mirror has, whenever a message
of it is missing, it falls silent, or the connection was lost. While none can be made (without a leader, the cluster
makes none), the messages are read from whichever replica answers.

Sequences have no gaps but those that compaction makes. So a gap behind the mirror's position means that a compaction
has overtaken this member, and everything is loaded anew: the last message of each subject.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import Header

from sira_grpc.errors import StoreCorrupt, StoreUnavailable
from sira_grpc.store.nats_assembly import Part
from sira_grpc.store.nats_envelope import Damaged
from sira_grpc.store.nats_errors import Lost, Refused
from sira_grpc.store.nats_link import Link
from sira_grpc.store.nats_mirror import Mirror
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_reader import StreamReader

HEARTBEAT_SECONDS = 0.5
SILENCE_SECONDS = 1.5
"""A consumer that says nothing for so long is given up; it says at least every HEARTBEAT_SECONDS that it is there."""
CALL_SECONDS = 2.0
RETRY_SECONDS = 0.1
POLL_MESSAGES = 256
POLL_BYTES = 4 << 20
REPAIR_TRIES = 6
"""Reads of a damaged message from the replicas that happen to answer, before it is given up."""
CONSUMER_GONE = 409

_NANOSECONDS = 1_000_000_000
_log = logging.getLogger(__name__)


class _Overtaken(Exception):
    """What comes next has been compacted away, or is damaged: everything must be loaded anew."""


class Tail:
    """Feeds the mirror. run() is a task of its own.

    Attributes:
        reader: reads what the mirror does not hold any more.
        trouble: why the stream could not be followed the last time; empty if it could.
    """

    def __init__(self, link: Link, names: Names, mirror: Mirror, random_bytes: Callable[[int], bytes]) -> None:
        self._link = link
        self._names = names
        self._mirror = mirror
        self.reader = StreamReader(link, names.state)
        self._random_bytes = random_bytes
        self.trouble = ""
        self._created = ""
        self._woken = asyncio.Event()
        link.reconnected.append(self._woken.set)

    async def run(self) -> None:
        """Follows the stream for ever."""
        load = True
        while True:
            try:
                await self._follow(load=load)
            except _Overtaken:
                load = True
                continue
            except (Lost, Refused, StoreUnavailable) as error:
                self.trouble = str(error)
                _log.debug("the state's stream cannot be followed: %s", error)
            except StoreCorrupt as error:
                self.trouble = str(error)
                _log.critical("the state's stream cannot be followed: %s", error)
            if self._mirror.loaded.is_set():
                load = False
                try:
                    await self._poll()
                except _Overtaken:
                    load = True
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await self._woken.wait()

    async def _follow(self, *, load: bool) -> None:
        """Makes a consumer and takes what it delivers until it is of no use any more."""
        self._woken.clear()
        consumer = f"sira_{self._random_bytes(8).hex()}"
        following = _Following(self, load=load)
        inbox = self._link.client.new_inbox()
        subscription = await self._link.subscribe(inbox, following.heard)
        try:
            last = await self._last_sequence()
            following.begin(await self._create(consumer, inbox, load=load), last)
            await following.ended(self._woken)
        finally:
            following.stop()
            with suppress(NatsError):
                await subscription.unsubscribe()
            with suppress(Lost, Refused, StoreUnavailable):
                await self._link.send(f"$JS.API.CONSUMER.DELETE.{self._names.state}.{consumer}")
        following.raise_trouble()

    async def _last_sequence(self) -> int:
        """Asks for the last sequence of the stream, and makes sure that it is the stream that it was."""
        info = await self._link.api(f"STREAM.INFO.{self._names.state}", within=CALL_SECONDS)
        created = str(info["created"])
        if self._created not in {"", created}:
            raise Lost("the state's stream was made anew behind this member: it has to be started again", sent=False)
        self._created = created
        return int(info["state"]["last_seq"])

    async def _create(self, name: str, inbox: str, *, load: bool) -> int:
        """Makes a consumer; returns how many messages wait for it."""
        config: dict[str, Any] = {
            "name": name,
            "ack_policy": "none",
            "deliver_subject": inbox,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT_SECONDS * _NANOSECONDS),
            "inactive_threshold": 5 * _NANOSECONDS,
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "replay_policy": "instant",
        }
        if load:
            config |= {"deliver_policy": "last_per_subject", "filter_subjects": self._names.state_subjects}
        else:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._mirror.position + 1}
        stream = self._names.state
        made = await self._link.api(
            f"CONSUMER.CREATE.{stream}.{name}",
            {"stream_name": stream, "action": "create", "config": config},
            within=CALL_SECONDS,
        )
        return int(made["num_pending"])

    async def _poll(self) -> None:
        """Reads on without a consumer."""
        self._mirror.restart()
        following = _Following(self, load=False)
        with suppress(Lost, StoreUnavailable):
            while found := await self.reader.run(
                following.position + 1, max_messages=POLL_MESSAGES, max_bytes=POLL_BYTES
            ):
                for one in found:
                    await following.take(one.sequence, one.subject, one.payload, pending=0)
        following.stop()

    async def part(self, sequence: int, subject: str, payload: bytes) -> Part | None:
        """Returns what a message says; if it is damaged, what other replicas say; None if no replica has it whole."""
        with suppress(Damaged):
            return self._mirror.decode(sequence, subject, payload)
        _log.error("message %d of %s is damaged; asking other replicas", sequence, subject)
        for attempt in range(REPAIR_TRIES):
            with suppress(Damaged, Lost, Refused):
                if attempt:
                    found = (await self.reader.run(sequence, max_messages=1, max_bytes=1) or (None,))[0]
                else:
                    found = await self.reader.at(sequence)
                if found is not None and found.sequence == sequence:
                    return self._mirror.decode(sequence, found.subject, found.payload)
        return None

    async def reply(self, subject: str) -> None:
        """Answers a consumer that waits to hear how far this member has come."""
        await self._link.send(subject)

    @property
    def mirror(self) -> Mirror:
        """What is fed."""
        return self._mirror


class _Following:
    """One consumer's messages on their way into the mirror."""

    def __init__(self, tail: Tail, *, load: bool) -> None:
        self._tail = tail
        self._mirror = tail.mirror
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
        except (Lost, _Overtaken, StoreUnavailable, StoreCorrupt) as error:
            if not self._trouble.done():
                self._trouble.set_exception(error)

    async def take(self, sequence: int, subject: str, payload: bytes, pending: int) -> None:
        """Takes a message of the stream."""
        mirror = self._mirror
        if not self._load and sequence != self.position + 1:
            raise _Overtaken
        try:
            part = mirror.decode(sequence, subject, payload)
        except Damaged:
            repaired = await self._tail.part(sequence, subject, payload)
            if self._trouble.done():
                return
            if repaired is None and not self._load:
                raise _Overtaken from None
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
            await self._tail.reply(message.reply)
        elif stalled := headers.get(Header.CONSUMER_STALLED):
            await self._tail.reply(stalled)
        if int(headers.get("Nats-Last-Consumer", self._delivered)) > self._delivered:
            raise Lost("the last messages of the consumer are missing", sent=False)
        if headers.get(Header.STATUS) == str(CONSUMER_GONE):
            raise Lost("the consumer is gone", sent=False)


def _places(reply: str) -> tuple[int, int, int]:
    """Returns the sequence in the stream, that in the consumer, and how many messages wait, from an ack's subject."""
    tokens = reply.split(".")
    first = 5 if len(tokens) < 11 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3])
