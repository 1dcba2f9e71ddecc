"""The log of a subscription's dead letters: one in each frame, whose number is its id."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from sira.bus.internal.v1.settlement_record_pb2 import DeadLetterRecord
from sira.bus.v1.dead_letter_pb2 import DeadLetter

from sira_grpc.bus.pump import Pump
from sira_grpc.bus.spans import Spans
from sira_grpc.errors import StoreCorrupt
from sira_grpc.store.api import MAX_OPS, Frame, LogStore

APPEND_RECORDS = MAX_OPS
APPEND_BYTES = 8 << 20
"""What is appended at once, at most."""
READ_LETTERS = 256
READ_BYTES = 1 << 20
"""What is read at once. One may be larger."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter as its log holds it.

    Attributes:
        id: of the dead letter.
        size: of its frame, in bytes; 0 if that cannot be read.
        log: of the partition that it was delivered from; empty if the frame cannot be read.
        offset: its offset there.
        data: the serialized DeadLetter, without its name; None if the frame cannot be read.
    """

    id: int
    size: int = 0
    log: str = ""
    offset: int = 0
    data: bytes | None = None

    @property
    def fence(self) -> bool:
        """Whether it is none, but was appended so that whoever had the log before can append no more."""
        return self.data is not None and not self.log

    def letter(self, subscription: str) -> DeadLetter | None:
        """Returns it as one of a subscription, by name; None if it cannot be read."""
        if self.data is None:
            return None
        try:
            letter = DeadLetter.FromString(self.data)
        except DecodeError:
            return None
        letter.name = f"{subscription}/deadLetters/{self.id}"
        return letter


@dataclass(slots=True, eq=False)
class _Append:
    frames: Sequence[bytes]
    done: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class DeadLetterLog:
    """Appends, reads and trims. What comes while an append is under way is appended together.

    Args:
        logs, name: where the log is.

    Attributes:
        first, next: the ids that it holds: first (inclusive) to next (exclusive).
        damaged: how many were found that cannot be read.
    """

    def __init__(self, logs: LogStore, name: str) -> None:
        self.first = 0
        self.next = 0
        self.damaged = 0
        self._logs = logs
        self._name = name
        self._damaged = Spans()
        self._pump: Pump[_Append] = Pump(self._write, f"bus {name}", max_items=APPEND_RECORDS, max_bytes=APPEND_BYTES)

    async def open(self) -> None:
        """Learns which there are."""
        held = await self._logs.range(self._name)
        self.first, self.next = held.first, held.next

    async def append(self, records: Sequence[DeadLetterRecord]) -> int:
        """Appends dead letters, and returns the id of the first once all are durable; the others follow.

        All are appended or none, up to 1,000 of at most 8 MiB; of more, some may be when it fails. It is done even if
        the caller is cancelled meanwhile.

        Raises:
            StoreUnavailable: they were not appended.
        """
        appends = [_Append(frames) for frames in _batches([record.SerializeToString() for record in records])]
        for append in appends:
            self._pump.put(append, sum(map(len, append.frames)))
        numbers = [await append.done for append in appends]
        return numbers[0] if numbers else self.next

    async def idle(self) -> None:
        """Returns when everything that came has been appended."""
        await self._pump.idle()

    async def _write(self, appends: list[_Append]) -> None:
        start = 0
        while start < len(appends):
            stop, count = start, 0
            while stop < len(appends) and (stop == start or count + len(appends[stop].frames) <= APPEND_RECORDS):
                count += len(appends[stop].frames)
                stop += 1
            await self._append(appends[start:stop])
            start = stop

    async def _append(self, appends: list[_Append]) -> None:
        try:
            frames = [frame for append in appends for frame in append.frames]
            number = await self._logs.append(self._name, frames, expected=self.next)
        except Exception as error:  # noqa: BLE001  whatever it is belongs to those who wait
            for append in appends:
                if not append.done.done():
                    append.done.set_exception(error)
                    append.done.exception()  # it may be that nobody waits any more
            return
        self.next = number + sum(len(append.frames) for append in appends)
        for append in appends:
            if not append.done.done():
                append.done.set_result(number)
            number += len(append.frames)

    async def read(self, first: int, end: int) -> list[StoredDeadLetter]:
        """Reads from one id up to before another, in order: at least one if there is any, and more as they fit.

        Those that cannot be read are there as such.
        """
        count = min(end - first, READ_LETTERS)
        try:
            frames = await self._logs.read(self._name, first, max_frames=count, max_bytes=READ_BYTES)
        except StoreCorrupt:
            return await self._read_singly(first, first + count)
        return [self._opened(frame) for frame in frames if frame.offset < end]

    async def _read_singly(self, first: int, end: int) -> list[StoredDeadLetter]:
        found: list[StoredDeadLetter] = []
        size = 0
        for number in range(max(first, self.first), end):
            if size > READ_BYTES:
                break
            try:
                frames = await self._logs.read(self._name, number, max_frames=1, max_bytes=1)
            except StoreCorrupt as error:
                found.append(self._lost(number, error))
                continue
            found += [self._opened(frame) for frame in frames if frame.offset == number]
            size += sum(len(frame.data) for frame in frames)
        return found

    def _opened(self, frame: Frame) -> StoredDeadLetter:
        try:
            record = DeadLetterRecord.FromString(frame.data)
        except DecodeError as error:
            return self._lost(frame.offset, error)
        return StoredDeadLetter(frame.offset, len(frame.data), record.log, record.offset, record.dead_letter)

    def _lost(self, number: int, error: Exception) -> StoredDeadLetter:
        if self._damaged.add(number, number + 1):
            self.damaged += 1
            log.error("%s: dead letter %d cannot be read: %s", self._name, number, error)
        return StoredDeadLetter(number)

    async def trim(self, before: int) -> None:
        """Forgets those below an id.

        Raises:
            StoreUnavailable: they are still there.
        """
        await self._logs.trim(self._name, before)
        self.first = max(self.first, before)


def _batches(frames: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yields as many frames as can be appended at once, in order, again and again."""
    start = size = 0
    for index, frame in enumerate(frames):
        if index > start and (index - start == APPEND_RECORDS or size + len(frame) > APPEND_BYTES):
            yield frames[start:index]
            start, size = index, 0
        size += len(frame)
    if start < len(frames):
        yield frames[start:]
