"""The partitions of the bus in memory: what was published, who published it, and how it is read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import grpc
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest
from sira_client.frames import FrameReader, check, checksum

from tests.unit.client.failure import Failure


@dataclass
class StoredFrame:
    """A frame with the offset of its first record."""

    base: int
    data: bytes
    publish_ns: int
    reader: FrameReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = FrameReader(self.data)

    @property
    def end(self) -> int:
        return self.base + self.reader.count

    def key(self, offset: int) -> bytes:
        return self.reader.key(offset - self.base)


@dataclass
class Partition:
    """What a partition holds, and what it knows of its producers: for each the frames it sent."""

    frames: list[StoredFrame] = field(default_factory=list)
    sent: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.frames[-1].end if self.frames else 0

    def append(self, data: bytes) -> int:
        base = self.end
        self.frames.append(StoredFrame(base, data, time.time_ns()))
        return base

    def publish(self, request: PublishFramesRequest, producer_id: str) -> tuple[int, int, bool] | Failure:
        """Offset and count, and whether it was there before; or why not."""
        if checksum(request.frame) != request.checksum:
            return Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        reader = FrameReader(request.frame)
        check(reader.frame, max_record_bytes=1 << 20)
        if not producer_id:
            return self.append(request.frame), reader.count, False
        sent = self.sent.setdefault(producer_id, [])
        for sequence, count, offset in sent:
            if (sequence, count) == (request.sequence, reader.count):
                return offset, count, True
        expected = sent[-1][0] + sent[-1][1] if sent else 1
        if request.sequence != expected:
            return Failure(grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_GAP")
        offset = self.append(request.frame)
        sent.append((request.sequence, reader.count, offset))
        return offset, reader.count, False

    def payloads(self) -> list[bytes]:
        return [payload for frame in self.frames for payload in frame.reader.payloads()]
