"""A partition on the real store or in memory, whose writes can be held up or fail, and whose frames can be damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.metrics import NoOpMeter
from sira.bus.internal.v1.stored_frame_pb2 import Redrive
from sira.bus.v1.frame_pb2 import Compression, Frame
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.topic_pb2 import Topic
from sira_client.frames import checksum, pack

from sira_grpc.bus.appending import Appender
from sira_grpc.bus.compaction import load_compaction
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.memory_logs import MemoryLogs
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.recent import RecentBudget
from sira_grpc.bus.retention import retain
from sira_grpc.bus.scheduled import Scheduled
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.bus.stored import Held
from sira_grpc.errors import StoreCorrupt, StoreUnavailable
from sira_grpc.store import LogRange, LogStore, open_sqlite
from sira_grpc.store.api import Frame as StoreFrame
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import NANOS, FakeClock

UID = "0123456789abcdef"
MEMORY_BYTES = 64 << 20
NONE = Compression.COMPRESSION_UNSPECIFIED


class TouchyLogs:
    """The logs of a store, with the ways in which they can fail.

    Attributes:
        failures: what the next appends raise; None where one succeeds.
        failing: logs that cannot be written: neither appended to, nor trimmed, nor deleted.
        unreadable: logs that cannot be read.
        damaged: frames that the store finds damaged, by log and number.
        flipped: frames that are read with one bit changed, which the store does not find.
        appended: the log of each append.
        read_frames: how many frames were read of each log.
    """

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs
        self.failures: list[Exception | None] = []
        self.failing: set[str] = set()
        self.unreadable: set[str] = set()
        self.damaged: set[tuple[str, int]] = set()
        self.flipped: set[tuple[str, int]] = set()
        self.appended: list[str] = []
        self.read_frames: dict[str, int] = {}
        self._gate = asyncio.Event()
        self._gate.set()
        self._arrived = asyncio.Event()
        self._asked = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when something is so; looks whenever the logs are asked for anything."""
        async with asyncio.timeout(30):
            while not condition():
                self._asked.clear()
                await self._asked.wait()

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
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        if partition in self.failing:
            raise StoreUnavailable(f"{partition} cannot be written")
        self.appended.append(partition)
        return await self._logs.append(partition, frames, expected=expected)

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[StoreFrame]:
        self._asked.set()
        if partition in self.unreadable:
            raise StoreUnavailable(f"{partition} cannot be read")
        frames = await self._logs.read(partition, offset, max_frames=max_frames, max_bytes=max_bytes)
        self.read_frames[partition] = self.read_frames.get(partition, 0) + len(frames)
        for frame in frames:
            if (partition, frame.offset) in self.damaged:
                raise StoreCorrupt(f"frame {frame.offset} is not what was written")
        return [self._flip(frame) if (partition, frame.offset) in self.flipped else frame for frame in frames]

    def _flip(self, frame: StoreFrame) -> StoreFrame:
        data = bytearray(frame.data)
        data[-1] ^= 1  # the frame within comes last: this is its payloads
        return StoreFrame(frame.offset, frame.time_ns, bytes(data))

    async def range(self, partition: str) -> LogRange:
        return await self._logs.range(partition)

    async def trim(self, partition: str, before: int) -> None:
        self._asked.set()
        if partition in self.failing:
            raise StoreUnavailable(f"{partition} cannot be written")
        await self._logs.trim(partition, before)

    async def delete_partition(self, partition: str) -> None:
        if partition in self.failing:
            raise StoreUnavailable(f"{partition} cannot be written")
        await self._logs.delete_partition(partition)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logs, name)


class PartitionWorld:
    """One partition of a topic with what works on it. reopen() goes on from the same logs, as a kernel does."""

    def __init__(self, path: Path, clock: FakeClock, topic: Topic | None = None, *, in_memory: bool = False) -> None:
        self.path = path
        self.clock = clock
        self.settings = TopicSettings.of(topic or Topic())
        self.in_memory = in_memory
        self.recent_bytes = 1 << 20
        self.store: SqliteStore
        self.logs: TouchyLogs
        self.partition: Partition
        self.scheduled: Scheduled
        self.appender: Appender

    async def start(self) -> None:
        self.store = await open_sqlite(self.path, clock=self.clock)
        self.logs = TouchyLogs(MemoryLogs(self.clock, MEMORY_BYTES) if self.in_memory else self.store)
        await self.open()

    async def open(self) -> None:
        """Opens the partition, in the order in which the bus does."""
        self.partition = Partition(self.logs, "t", UID, 0, self.settings, RecentBudget(self.recent_bytes))
        await self.partition.open(await load_compaction(self.store, UID, 0))
        await retain(self.partition, self.clock.time_ns())
        self.scheduled = Scheduled(self.partition, self.clock)
        self.appender = Appender(self.partition, self.scheduled, self.clock, BusMetrics(NoOpMeter("test")))
        await self.scheduled.open(self.appender.publish)

    async def close(self) -> None:
        """Closes the partition in good order."""
        await self.scheduled.close()
        await self.appender.close()

    async def drop(self) -> None:
        """Lets go of the partition, which writes nothing more: it is as if the kernel had been killed."""
        await self.scheduled.close()
        await self.appender.idle()

    async def reopen(self, *, killed: bool = False) -> None:
        await (self.drop() if killed else self.close())
        await self.open()

    async def restart(self, *, killed: bool = False) -> None:
        """Opens the store anew, too."""
        await (self.drop() if killed else self.close())
        await self.store.close()
        await self.start()

    async def stop(self) -> None:
        self.logs.open()
        await self.close()
        await self.store.close()

    async def publish(self, *records: Record, producer: str = "", sequence: int = 0) -> Published:
        return await self.appender.publish(incoming(records, producer=producer, sequence=sequence))

    async def publish_each(self, payloads: Iterable[str], *, seconds: float = 0.0) -> None:
        """Publishes records one by one, each in a frame of its own, and moves the clock after each."""
        for payload in payloads:
            await self.publish(record(payload))
            self.clock.advance(seconds)

    async def frames(self) -> list[Held]:
        """Everything that can be read, from the first offset on."""
        found: list[Held] = []
        offset = self.partition.first
        while frames := await self.partition.read(offset):
            found += frames
            offset = frames[-1].end
        return found

    async def payloads(self) -> list[str]:
        """The payloads of all records that can be read."""
        return [payload for _, payload in await self.records()]

    async def records(self) -> list[tuple[int, str]]:
        """Offset and payload of all records that can be read."""
        return [
            (held.offset_of(place), held.reader.payload(place).decode())
            for held in await self.frames()
            if not held.broken
            for place in range(held.count)
        ]

    @property
    def log(self) -> str:
        return self.partition.log


def record(payload: str = "", *, key: str = "", id_: str = "", ttl: float = 0.0, deliver_at_ns: int = 0) -> Record:
    made = Record(id=id_, key=key.encode(), payload=payload.encode())
    if ttl:
        made.ttl.FromNanoseconds(round(ttl * NANOS))
    if deliver_at_ns:
        made.deliver_at.FromNanoseconds(deliver_at_ns)
    return made


def records(*payloads: str) -> list[Record]:
    return [record(payload) for payload in payloads]


def incoming(
    of: Sequence[Record],
    *,
    producer: str = "",
    sequence: int = 0,
    redrive: Redrive | None = None,
    compression: Compression.ValueType = NONE,
) -> Incoming:
    """A frame as it comes from a publisher."""
    data = pack(of, compression=compression)
    return Incoming(data, Frame.FromString(data), checksum(data), producer, sequence, redrive)
