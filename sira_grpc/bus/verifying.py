"""Reads what topics hold and says what of it is not as it was written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from sira.bus.v1.topic_service_pb2 import Damage, VerifyTopicResponse

from sira_grpc.bus import names
from sira_grpc.bus.frame_checks import Checks, ScheduledChecks, StoredChecks
from sira_grpc.bus.log_reading import read_frames
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.view import TopicEntry

TELL_BYTES = 64 << 20
TELL_SECONDS = 1.0
TELL_DAMAGES = 1000
"""After so many bytes, or seconds, or damages, there is an answer."""


class Verifying:
    """Verifies topics.

    Args:
        topic: returns a topic by its name, or raises TopicNotFound.
        partitions: returns the partitions of a topic, open.
    """

    def __init__(
        self,
        topic: Callable[[str], Awaitable[TopicEntry]],
        partitions: Callable[[TopicEntry], Awaitable[Sequence[Partition]]],
    ) -> None:
        self._topic = topic
        self._partitions = partitions

    async def verify(self, name: str) -> AsyncGenerator[VerifyTopicResponse, None]:
        """Reads what a topic holds now, partition by partition, and yields how far it has come and what it has found.

        What comes meanwhile is not read; what goes meanwhile may not be.

        Raises, from the iteration:
            TopicNotFound: there is no such topic.
            StoreUnavailable: it cannot be read.
        """
        for partition in await self._partitions(await self._topic(name)):
            async with aclosing(_verify(partition)) as answers:
                async for answer in answers:
                    yield answer


class _Report:
    """What was read of a partition, and when somebody was told."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._frames = 0
        self._records = 0
        self._bytes = 0
        self._told_bytes = 0
        self._damages: list[Damage] = []
        self._loop = asyncio.get_running_loop()
        self._told = self._loop.time()

    def add(self, size: int, records: int) -> None:
        """Counts a frame."""
        self._frames += 1
        self._records += records
        self._bytes += size

    def damage(self, frame: int, offset: int, description: str) -> None:
        """Notes a damage."""
        self._damages.append(Damage(frame=frame, offset=offset, description=description))

    @property
    def due(self) -> bool:
        """Whether somebody should be told."""
        return (
            self._bytes - self._told_bytes >= TELL_BYTES
            or self._loop.time() - self._told >= TELL_SECONDS
            or len(self._damages) >= TELL_DAMAGES
        )

    def take(self, *, done: bool = False, head: bytes = b"") -> VerifyTopicResponse:
        """Returns it all."""
        damages, self._damages = self._damages, []
        self._told_bytes, self._told = self._bytes, self._loop.time()
        return VerifyTopicResponse(
            partition=self._partition,
            frames=self._frames,
            records=self._records,
            bytes=self._bytes,
            damages=damages,
            done=done,
            head=head,
        )


class _Part(NamedTuple):
    """A log that is to be read: up to where, with what checks, and whether it is there still."""

    log: str
    first: int
    end: int
    checks: Checks
    stands: Callable[[int], bool]


async def _verify(partition: Partition) -> AsyncGenerator[VerifyTopicResponse, None]:
    report = _Report(partition.number)
    chain = StoredChecks(report.damage, compacted=False)
    for part in await _parts(partition, chain, report):
        async with aclosing(read_frames(partition.logs, part.log, part.first, part.end)) as frames:
            async for number, frame in frames:
                if not part.stands(number):
                    continue
                if frame is None:
                    part.checks.lost(number)
                else:
                    report.add(len(frame.data), part.checks.check(number, frame.data))
                if report.due:
                    yield report.take()
    yield report.take(done=True, head=chain.head)


async def _parts(partition: Partition, chain: StoredChecks, report: _Report) -> list[_Part]:
    """Returns the logs of a partition that hold records, as they are now."""
    compacted, live = partition.compacted, partition.live
    parts = [_Part(live.name, live.first, live.next, chain, lambda number: number >= live.first)]
    if compacted is not None:
        checks = StoredChecks(report.damage, compacted=True)
        # It is gone when the partition is compacted again.
        parts.insert(
            0,
            _Part(
                compacted.name,
                compacted.first,
                compacted.next,
                checks,
                lambda number: partition.compacted is compacted and number >= compacted.first,
            ),
        )
    scheduled = names.scheduled_of(partition.topic_uid, partition.number)
    held = await partition.logs.range(scheduled)
    parts.append(_Part(scheduled, held.first, held.next, ScheduledChecks(report.damage), lambda number: True))
    return parts
