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

from nats.errors import Error as NatsError

from sira_grpc.errors import StoreCorrupt, StoreUnavailable
from sira_grpc.store.nats_assembly import Part
from sira_grpc.store.nats_envelope import Damaged
from sira_grpc.store.nats_errors import Lost, Refused
from sira_grpc.store.nats_following import HEARTBEAT_SECONDS, Following, Overtaken
from sira_grpc.store.nats_link import Link
from sira_grpc.store.nats_mirror import Mirror
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_reader import StreamReader

CALL_SECONDS = 2.0
RETRY_SECONDS = 0.1
POLL_MESSAGES = 256
POLL_BYTES = 4 << 20
REPAIR_TRIES = 6
"""Reads of a damaged message from the replicas that happen to answer, before it is given up."""

_NANOSECONDS = 1_000_000_000
_log = logging.getLogger(__name__)


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
            except Overtaken:
                load = True
                continue
            except (Lost, Refused, StoreUnavailable) as error:
                self.trouble = str(error)
                _log.debug("the state's stream cannot be followed: %s", error)
            except StoreCorrupt as error:
                self.trouble = str(error)
                _log.critical("the state's stream cannot be followed: %s", error)
            except Exception as error:  # noqa: BLE001  without it the member would go blind; it may pass
                self.trouble = str(error)
                _log.critical("the state's stream cannot be followed", exc_info=error)
            if self._mirror.loaded.is_set():
                load = await self._poll()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await self._woken.wait()

    async def _follow(self, *, load: bool) -> None:
        """Makes a consumer and takes what it delivers until it is of no use any more."""
        self._woken.clear()
        consumer = f"sira_{self._random_bytes(8).hex()}"
        following = self._following(load=load)
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

    async def _poll(self) -> bool:
        """Reads on without a consumer, as far as it gets. Says whether everything has to be loaded anew."""
        self._mirror.restart()
        following = self._following(load=False)
        try:
            while found := await self.reader.run(
                following.position + 1, max_messages=POLL_MESSAGES, max_bytes=POLL_BYTES
            ):
                for one in found:
                    await following.take(one.sequence, one.subject, one.payload, pending=0)
        except Overtaken:
            return True
        except (Lost, StoreUnavailable) as error:
            _log.debug("the state's stream cannot be read: %s", error)
        finally:
            following.stop()
        return False

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

    def _following(self, *, load: bool) -> Following:
        return Following(self._mirror, self.part, self._link.send, load=load)
