"""The logs: a stream for each partition, in which a frame's offset is its sequence less one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sira_grpc.clock import Clock
from sira_grpc.store.api import Frame, LogRange
from sira_grpc.store.nats_envelope import Damaged, FrameMessage, decode_frame
from sira_grpc.store.nats_errors import Lost, Refused, corrupt, unavailable
from sira_grpc.store.nats_gate import Gate
from sira_grpc.store.nats_link import Link
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_partition import Extent, Partition
from sira_grpc.store.nats_reader import Stored
from sira_grpc.store.nats_streams import Streams
from sira_grpc.store.validation import check_frames, check_key

MAX_READ_BYTES = 16 << 20
"""A read returns no more than this at once, whatever it is asked for: servers drop a client with 64 MiB waiting."""
MAX_READ_FRAMES = 10_000
FRAME_OVERHEAD_BYTES = 320
READ_TIMEOUT = 6.0
"""How long a read is tried, over elections."""
REPAIR_TRIES = 6
_LAST_OFFSET = 1 << 62

T = TypeVar("T")
_log = logging.getLogger(__name__)


class NatsLog:
    """Implements LogStore."""

    def __init__(
        self,
        link: Link,
        names: Names,
        streams: Streams,
        gate: Gate,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._link = link
        self._names = names
        self._streams = streams
        self._gate = gate
        self._clock = clock
        self._random_bytes = random_bytes
        self._partitions: dict[str, Partition] = {}

    async def append(self, partition: str, frames: Sequence[bytes], *, expected: int | None = None) -> int:
        """See LogStore."""
        size = check_frames(partition, frames, expected)
        found = tuple(frames)
        return await self._gate.run(
            size, lambda: self._partition(partition).append(found, expected, self._gate.deadline())
        )

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        """See LogStore."""
        check_key(partition, "partition")
        if max_frames < 1:
            raise ValueError(f"max_frames is {max_frames}: must be at least 1")
        found = self._partition(partition)
        limits = (min(max_frames, MAX_READ_FRAMES), min(max_bytes, MAX_READ_BYTES))
        return await self._trying(lambda: self._read(found, offset, *limits))

    async def range(self, partition: str) -> LogRange:
        """See LogStore."""
        check_key(partition, "partition")
        extent = await self._trying(self._partition(partition).look)
        return LogRange(extent.first, extent.next) if extent else LogRange(0, 0)

    async def offset_at(self, partition: str, time_ns: int) -> int:
        """See LogStore."""
        check_key(partition, "partition")
        found = self._partition(partition)
        return await self._trying(lambda: self._offset_at(found, time_ns))

    async def trim(self, partition: str, before: int) -> None:
        """See LogStore."""
        check_key(partition, "partition")
        self._gate.check()
        found = self._partition(partition)
        await self._trying(lambda: self._trim(found, before))

    async def delete_partition(self, partition: str) -> None:
        """See LogStore."""
        check_key(partition, "partition")
        self._gate.check()
        found = self._partition(partition)
        async with found.turn:
            await self._trying(lambda: self._streams.delete(found.stream))
            self._partitions.pop(partition, None)

    def _partition(self, name: str) -> Partition:
        found = self._partitions.get(name)
        if found is None:
            found = self._partitions[name] = Partition(
                name, self._names.log(name), self._link, self._streams, self._clock, self._random_bytes
            )
        return found

    async def _trying(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does what may be done again until an answer comes, or time is up."""
        self._gate.check_open()
        deadline = asyncio.get_running_loop().time() + READ_TIMEOUT
        while True:
            try:
                await self._link.up(deadline)
                return await work()
            except (Lost, Refused) as error:
                self._gate.check_open()
                if asyncio.get_running_loop().time() >= deadline:
                    raise unavailable(str(error)) from error
            await asyncio.sleep(0.1)

    async def _read(self, partition: Partition, offset: int, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        extent = partition.extent or await partition.look()
        if extent is None or offset >= _LAST_OFFSET:
            return ()
        start = max(offset, extent.first)
        # The server counts what surrounds the frames, too.
        room = max_bytes + FRAME_OVERHEAD_BYTES * min(max_frames, 1024)
        found = await partition.reader.run(start + 1, max_messages=max_frames, max_bytes=room)
        if not found:
            if start >= extent.next:
                return ()
            found = await self._surely(partition, extent, start)
            if not found:
                return ()
        if found[0].sequence != start + 1:
            start = await self._first(partition, start, found[0].sequence - 1)
        return await self._frames(partition, extent, found, start, max_bytes)

    async def _surely(self, partition: Partition, extent: Extent, start: int) -> Sequence[Stored]:
        """Asks the leader for a frame that a replica did not have; none if it is not there any more."""
        sure = await partition.reader.at(start + 1, partition.subject)
        if sure is not None:
            return [sure]
        now = await partition.look()
        if now is not None and now is extent and max(start, now.first) < now.next:
            raise Lost(f"frame {start} is not there yet", sent=False)
        return ()

    async def _first(self, partition: Partition, start: int, found: int) -> int:
        """Makes sure that the frames before one were trimmed; returns its offset."""
        extent = await partition.look()
        if extent is not None and start < found and extent.first < found:
            raise _damaged(partition, max(start, extent.first))
        if extent is None or extent.first > found:
            raise Lost("the partition has changed", sent=False)
        return found

    async def _frames(
        self, partition: Partition, extent: Extent, found: Sequence[Stored], start: int, max_bytes: int
    ) -> Sequence[Frame]:
        frames: list[Frame] = []
        size = 0
        for offset, stored in enumerate(found, start):
            if stored.sequence != offset + 1:
                raise _damaged(partition, offset)
            message = await self._whole(partition, stored)
            if message.life != extent.life:
                # A replica that lags has what was there before the partition was deleted, or this member has.
                await partition.look()
                raise Lost("the partition was made anew", sent=False)
            size += len(message.data)
            if frames and size > max_bytes:
                break
            frames.append(Frame(offset, message.time_ns, message.data))
        extent.next = max(extent.next, frames[-1].offset + 1)
        return frames

    async def _whole(self, partition: Partition, stored: Stored) -> FrameMessage:
        """Returns a frame; from another replica, if it is damaged on this."""
        for _ in range(REPAIR_TRIES):
            try:
                message = decode_frame(stored.payload)
                if message.offset == stored.sequence - 1:
                    return message
            except Damaged:
                _log.error("the frame %d of the log %s is damaged", stored.sequence - 1, partition.name)
            again = await partition.reader.run(stored.sequence, max_messages=1, max_bytes=1)
            if again and again[0].sequence == stored.sequence:
                stored = again[0]
        raise _damaged(partition, stored.sequence - 1)

    async def _trim(self, partition: Partition, before: int) -> None:
        extent = await partition.look()
        if extent is None:
            return
        first = min(before, extent.next)
        if first > extent.first:
            await self._streams.purge(partition.stream, below=first + 1)
            extent.first = max(extent.first, first)

    async def _offset_at(self, partition: Partition, time_ns: int) -> int:
        """Searches by halving: times never go back from one offset to the next."""
        extent = await partition.look()
        if extent is None:
            return 0
        low, high = extent.first, extent.next
        while low < high:
            middle = (low + high) // 2
            found = await self._read(partition, middle, 1, 1)
            if not found or found[0].offset != middle:
                raise Lost("the partition was trimmed meanwhile", sent=False)
            if found[0].time_ns < time_ns:
                low = middle + 1
            else:
                high = middle
        return low


def _damaged(partition: Partition, offset: int) -> Exception:
    return corrupt(f"the frame at offset {offset} of the log {partition.name}")
