"""Forgetting the history: what bounds the state's stream, while the state itself stays.

The stream itself has no limits: they would take out of its middle what a member has not seen yet. Instead a member
writes into it up to where the history is forgotten, as a message of its own (the mark), and only then removes what lies
before: the values that were written over, the deletions, the checks. Never the last message that it has seen, though:
so whoever is behind meets a gap, and knows that it has to load everything anew.

What a member that died has left is removed with the next compaction, by whichever member makes that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.api import Commit
from sira_grpc.store.nats_envelope import Damaged, Kind, StateMessage, decode_state, encode_state
from sira_grpc.store.nats_errors import WRONG_LAST_SEQUENCE, Lost, Refused, unavailable
from sira_grpc.store.nats_link import Link
from sira_grpc.store.nats_mirror import Mark, Mirror
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_publisher import Outgoing, Publisher
from sira_grpc.store.nats_reader import StreamReader
from sira_grpc.store.nats_streams import CALL_SECONDS, Streams

PURGES_IN_FLIGHT = 8
_STEPS = 16

_log = logging.getLogger(__name__)


class Compaction:
    """Compacts when asked, and when the history exceeds its limits. run() is a task of its own.

    Args:
        history_limit: sequences that stay watchable at least.
        history_bytes: what they may hold, about.
    """

    def __init__(
        self,
        link: Link,
        names: Names,
        mirror: Mirror,
        random_bytes: Callable[[int], bytes],
        *,
        streams: Streams,
        history_limit: int,
        history_bytes: int,
    ) -> None:
        self._link = link
        self._names = names
        self._mirror = mirror
        self._random_bytes = random_bytes
        self._streams = streams
        self._publisher = Publisher(link, random_bytes)
        self._reader = StreamReader(link, names.state)
        self._limit = history_limit
        self._limit_bytes = history_bytes
        # Steps of the history: up to which revision, and how many bytes it holds.
        self._steps: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._step_bytes = 0
        self._wanted = asyncio.Event()

    def note(self, commit: Commit) -> None:
        """Counts a commit."""
        size = sum(len(change.value or b"") + len(change.key) for change in commit.changes)
        self._step_bytes += size
        self._bytes += size
        if self._step_bytes >= self._limit_bytes // _STEPS:
            self._steps.append((commit.revision, self._step_bytes))
            self._step_bytes = 0
        if self._due() > self._mirror.mark.compacted:
            self._wanted.set()

    def _due(self) -> int:
        """Returns the revision up to which the limits want the history forgotten; 0 for none."""
        due = 0
        history = self._mirror.position - self._mirror.mark.compacted
        if history > self._limit + max(1, self._limit // _STEPS):
            due = self._mirror.position - self._limit
        excess = self._bytes - self._limit_bytes
        for revision, size in self._steps:
            if excess <= 0:
                break
            due = max(due, revision)
            excess -= size
        return due

    async def compact(self, revision: int, deadline: float) -> None:
        """Writes the mark, so that the history up to a revision is forgotten; what lies there is removed later.

        Raises:
            StoreUnavailable: the mark could not be written.
        """
        trouble: Exception | None = None
        while asyncio.get_running_loop().time() < deadline:
            if self._mirror.mark.compacted >= revision:
                self._wanted.set()
                return
            try:
                await self._mark(revision)
            except (Lost, Refused) as error:
                trouble = error
                await asyncio.sleep(0.05)
        raise unavailable(str(trouble), sent=True)

    async def _mark(self, revision: int) -> None:
        mark = self._mirror.mark
        found = await self._reader.at(revision)
        floor = mark.floor
        if found is not None:
            with suppress(Damaged):  # nothing is removed then
                message = decode_state(found.subject, found.payload)
                whole = message.place == message.count
                floor = max(floor, revision if whole else revision - message.place)
        await self._write(Mark(revision, floor, mark.purged))

    async def _write(self, mark: Mark) -> None:
        message = StateMessage(Kind.MARK, self._random_bytes(16), 1, 1, mark.encode())
        payload = encode_state(self._names.mark, message)
        try:
            last = await self._publisher.publish(
                [Outgoing(self._names.mark, payload, self._mirror.mark.sequence)], within=CALL_SECONDS
            )
        except Refused as error:
            if error.code not in WRONG_LAST_SEQUENCE:
                raise
            last = error.last_sequence or self._mirror.position + 1
        await self._mirror.reached(last, CALL_SECONDS)

    async def run(self) -> None:
        """Compacts whenever the history exceeds its limits, and removes what is forgotten; for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                if (due := self._due()) > self._mirror.mark.compacted:
                    await self._mark(due)
                self._forget_steps()
                if self._mirror.mark.floor > self._mirror.mark.purged:
                    await self._remove(self._mirror.mark.floor)
            except (Lost, Refused, StoreUnavailable) as error:
                _log.warning("the history could not be compacted, which is tried again later: %s", error)

    def _forget_steps(self) -> None:
        while self._steps and self._steps[0][0] <= self._mirror.mark.compacted:
            self._bytes -= self._steps.popleft()[1]

    async def _remove(self, upto: int) -> None:
        """Removes what is forgotten, but for the last message of all: others know by it that there were some."""
        position = self._mirror.position
        turns = asyncio.Semaphore(PURGES_IN_FLIGHT)

        async def purge(subject: str, below: int) -> None:
            async with turns:
                await self._streams.purge(self._names.state, below=min(below, position), subject=subject)

        forgotten = await self._forgotten(upto)
        outcomes = await asyncio.gather(
            *(purge(subject, below) for subject, below in forgotten.items()), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        with suppress(Refused):  # another member was first
            mark = self._mirror.mark
            await self._write(Mark(mark.compacted, mark.floor, min(upto, position - 1)))

    async def _forgotten(self, upto: int) -> Mapping[str, int]:
        """Returns the subjects of which something is to be removed, each with the sequence below which it is."""
        found = {self._names.checks: upto + 1, self._names.mark: min(upto + 1, self._mirror.mark.sequence)}
        for key, at in self._mirror.deletions():
            if at <= upto:
                found[self._names.subject(key)] = at + 1
        offset = 0
        while True:
            info = await self._link.api(
                f"STREAM.INFO.{self._names.state}",
                {"subjects_filter": f"{self._names.keys}>", "offset": offset},
                within=CALL_SECONDS,
            )
            subjects = info["state"].get("subjects") or {}
            for subject, count in subjects.items():
                last = self._mirror.last_sequence(self._names.key(subject))
                if count > 1 and subject not in found and last:
                    found[subject] = min(last, upto + 1)
            offset += len(subjects)
            if not subjects or offset >= int(info.get("total", 0)):
                return found
