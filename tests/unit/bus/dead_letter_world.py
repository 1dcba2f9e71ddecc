"""Dead letters on the real store, in which a test can hold up and fail writes, and damage what is read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from sira.bus.internal.v1.settlement_record_pb2 import DeadLetterRecord
from sira.bus.v1.dead_letter_pb2 import DeadLetter, DeadLetterReason
from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter
from sira.bus.v1.record_pb2 import Record

from sira_grpc.bus import names
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.errors import StoreCorrupt
from sira_grpc.store import Frame, LogRange, LogStore
from sira_grpc.times import timestamp

UID = "5ubscr1pt10n0000"
NAME = "namespaces/default/subscriptions/billing"
LOG = names.log_of("t0p1c00000000000", 0)
EVERYTHING = DeadLetterFilter()
TERMINATED = DeadLetterReason.DEAD_LETTER_REASON_TERMINATED
MAX_DELIVERIES = DeadLetterReason.DEAD_LETTER_REASON_MAX_DELIVERIES
CORRUPT = DeadLetterReason.DEAD_LETTER_REASON_CORRUPT


class TouchyLogs:
    """The logs of a store, with the ways in which they can fail.

    Attributes:
        failures: what the next appends and trims raise.
        damaged: frames that cannot be read, by log and number.
        appended: how many frames each append had, by log.
    """

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs
        self.failures: list[Exception] = []
        self.damaged: set[tuple[str, int]] = set()
        self.appended: list[tuple[str, int]] = []
        self._gate = asyncio.Event()
        self._gate.set()
        self._arrived = asyncio.Event()

    def shut(self) -> None:
        """Holds up appends from here on."""
        self._gate.clear()
        self._arrived.clear()

    def open(self) -> None:
        self._gate.set()

    async def arrived(self) -> None:
        """Returns when an append has come to the gate since it was shut."""
        await self._arrived.wait()

    async def append(self, partition: str, frames: Sequence[bytes], *, expected: int | None = None) -> int:
        self._arrived.set()
        await self._gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.appended.append((partition, len(frames)))
        return await self._logs.append(partition, frames, expected=expected)

    async def trim(self, partition: str, before: int) -> None:
        if self.failures:
            raise self.failures.pop(0)
        await self._logs.trim(partition, before)

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        frames = await self._logs.read(partition, offset, max_frames=max_frames, max_bytes=max_bytes)
        for frame in frames:
            if (partition, frame.offset) in self.damaged:
                raise StoreCorrupt(f"frame {frame.offset} is not what was written")
        return frames

    async def range(self, partition: str) -> LogRange:
        return await self._logs.range(partition)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logs, name)


async def opened(logs: LogStore | TouchyLogs, *, uid: str = UID, name: str = NAME) -> DeadLetters:
    """The dead letters of a subscription, as a kernel that starts finds them."""
    letters = DeadLetters(cast(LogStore, logs), uid, name)
    await letters.open()
    return letters


def record(
    n: int = 0,
    *,
    log: str = LOG,
    topic: str = "orders",
    partition: int = 0,
    reason: DeadLetterReason.ValueType = TERMINATED,
    redrives: int = 0,
    at: int = 0,
    message: Record | None = None,
) -> DeadLetterRecord:
    """The dead letter of record n of a partition."""
    letter = DeadLetter(
        record=message or Record(id=f"id-{n}", key=f"key-{n}".encode(), payload=f"payload {n}".encode()),
        topic=topic,
        partition=partition,
        offset=n,
        publish_time=timestamp(1_700_000_000_000_000_000 + n),
        reason=reason,
        redrives=redrives,
        dead_letter_time=timestamp(at),
    )
    return DeadLetterRecord(dead_letter=letter.SerializeToString(), log=log, offset=n)


async def ids(letters: DeadLetters, wanted: DeadLetterFilter = EVERYTHING, *, size: int = 0) -> list[int]:
    """The ids on all pages of a list."""
    found: list[int] = []
    token = ""
    while True:
        page, token = await letters.list(wanted, size=size, token=token)
        found += [int(letter.name.rpartition("/")[2]) for letter in page]
        if not token:
            return found
