"""A producer of frames that sends again what was not acknowledged when the kernel was killed."""

from __future__ import annotations

import random
import zlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grpc import aio
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishFramesResponse
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.topic_pb2 import Durability
from sira_client.frames import checksum, pack_columns

from tests.integration.bus_kernel import ended, topic_name
from tests.integration.bus_ledger import UNKNOWN, Ledger, Sent
from tests.integration.bus_life import Life

WINDOW = 16
MAX_RECORDS = 50
REPEATED = 0.03
"""How many frames are sent again although they were acknowledged."""
LATER = 0.8
"""How many records of a producer that schedules are to be delivered later."""


@dataclass(slots=True, eq=False)
class SentFrame:
    """A frame and its records. `sequence` is that of the first one."""

    partition: int
    sequence: int
    records: list[Sent]
    request: PublishFramesRequest


class FramesProducer:
    """Publishes frames of 1 to 50 records over one stream.

    Args:
        name: of it.
        ledger: of the topic.
        partitions: how many the topic has.
        rng: chooses.
        keys: how many it has.
        by_ids: it is recognized by the ids of its records, and not by its own and a sequence.
        window: frames that are sent and not answered, at most.
        room: whether to go on with new frames now.
        deliver_at: returns when a record is to be delivered, Unix nanoseconds; None where all are at once.
    """

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        partitions: int,
        rng: random.Random,
        *,
        keys: int = 10,
        by_ids: bool = False,
        window: int = WINDOW,
        room: Callable[[], bool],
        deliver_at: Callable[[], int] | None = None,
    ) -> None:
        self.name = name
        self._ledger = ledger
        self._rng = rng
        self._by_ids = by_ids
        self._window = window
        self._room = room
        self._deliver_at = deliver_at
        self._sequences: Counter[int] = Counter()
        self._keys: list[list[bytes]] = [[] for _ in range(partitions)]
        for number in range(keys):
            key = f"{name}-{number}".encode()
            self._keys[zlib.crc32(key) % partitions].append(key)
        self._unacknowledged: deque[SentFrame] = deque()
        self._last: SentFrame | None = None

    @property
    def idle(self) -> bool:
        """Whether everything is acknowledged."""
        return not self._unacknowledged

    async def run(self, life: Life) -> None:
        """Publishes until the kernel is gone; in its last life, only what was not acknowledged."""
        async with life.kernel.connect() as channel:
            stub: Any = PublishServiceStub(channel)
            call = stub.PublishFrames()
            waiting, self._unacknowledged = deque(self._unacknowledged), deque()
            try:
                while not (life.draining or life.killed) or waiting or self._unacknowledged:
                    while len(self._unacknowledged) < self._window and (frame := self._next(waiting, life)):
                        self._unacknowledged.append(frame)
                        await call.write(frame.request)
                    if self._unacknowledged:
                        await self._answer(call, life)
                    else:
                        await life.news()
            finally:
                self._unacknowledged.extend(waiting)
            if not life.killed:
                await call.done_writing()
                assert await call.read() is aio.EOF

    async def _answer(self, call: Any, life: Life) -> None:
        response = await call.read()
        if response is aio.EOF:
            raise await ended(call)
        self._answered(self._unacknowledged.popleft(), response)
        life.seen("published")

    def _next(self, waiting: deque[SentFrame], life: Life) -> SentFrame | None:
        if waiting:
            return waiting.popleft()
        if life.draining or not self._room():
            return None
        if self._last is not None and self._rng.random() < REPEATED:
            return self._last
        return self._make()

    def _make(self) -> SentFrame:
        rng = self._rng
        partition = rng.choice([number for number, keys in enumerate(self._keys) if keys])
        count = rng.randint(1, rng.choice((3, MAX_RECORDS)))
        records = []
        for _ in range(count):
            later = self._deliver_at is not None and rng.random() < LATER
            at = self._deliver_at() if self._deliver_at is not None and later else 0
            records.append(self._ledger.send(self.name, partition, rng.choice(self._keys[partition]), deliver_at_ns=at))
        data = pack_columns(
            [record.payload for record in records],
            keys=[record.key for record in records],
            ids=[record.name for record in records] if self._by_ids else None,
            deliver_at_ns=[record.deliver_at_ns for record in records] if self._deliver_at is not None else None,
        )
        sequence = self._sequences[partition] + 1
        self._sequences[partition] += count
        request = PublishFramesRequest(
            topic=topic_name(self._ledger.topic), partition=partition, frame=data, checksum=checksum(data)
        )
        if not self._by_ids:
            request.producer_id, request.sequence = self.name, sequence
        return SentFrame(partition, sequence, records, request)

    def _answered(self, frame: SentFrame, response: PublishFramesResponse) -> None:
        counts = self._ledger.findings.counts
        assert response.partition == frame.partition
        assert response.durability == Durability.DURABILITY_DISK
        again = frame.records[0].acknowledged
        assert response.duplicate or not again, f"{frame.records[0].name} was stored again"
        assert response.count == (0 if response.duplicate and self._by_ids else len(frame.records))
        scheduled = any(record.deliver_at_ns for record in frame.records)
        assert (response.offset == UNKNOWN) <= scheduled, f"{frame.records[0].name} has no offset"
        counts["frames"] += not again
        counts["frames sent again"] += response.duplicate
        self._ledger.acknowledged(frame.records, response.offset)
        self._last = frame
