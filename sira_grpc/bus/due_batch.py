"""Scheduled records whose time has come, on their way into their partition together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sira.bus.internal.v1.stored_frame_pb2 import Span
from sira_client.frames import checksum

from sira_grpc.bus.due_queue import Due
from sira_grpc.bus.gathering import Part, gather
from sira_grpc.bus.incoming import Incoming
from sira_grpc.bus.scheduled_frames import Found

RELEASER = "$scheduled"
"""The producer of what is released. Clients cannot have this id."""
MAX_RECORDS = 1000
MAX_BYTES = 1 << 20
"""Records, and bytes of them, that are released together. One may be larger."""
MAX_MEMORY = 32 << 20
"""Frames that they are taken out of, in memory."""


class DueBatch:
    """The records, in the order in which they are due.

    Attributes:
        parts: the records; none if all have expired.
    """

    def __init__(self, now_ns: int) -> None:
        self.parts: list[Part] = []
        self._now_ns = now_ns
        self._ttls_ms: list[int] = []
        self._size = 0
        self._readers: set[int] = set()
        self._memory = 0

    def add(self, due: Due, found: Found) -> bool:
        """Takes a record, unless it has expired; False if there is no room for it."""
        reader, index, memory = found
        ttl_ms = reader.ttl_ms(index)
        if ttl_ms:
            # It counts from when the record was due: the kernel may have slept since.
            ttl_ms -= (self._now_ns - due.due_ns) // 1_000_000
            if ttl_ms <= 0:
                return True
        size = self._size + reader.frame.payload_sizes[index] + len(reader.key(index))
        size += reader.attributes(index).ByteSize()
        memory = self._memory + (0 if id(reader) in self._readers else memory)
        if self.parts and (size > MAX_BYTES or memory > MAX_MEMORY):
            return False
        self._size, self._memory = size, memory
        self._readers.add(id(reader))
        self._ttls_ms.append(ttl_ms)
        if self.parts and self.parts[-1].reader is reader:
            self.parts[-1].indexes.append(index)
        else:
            self.parts.append(Part(reader, [index]))
        return True

    def incoming(self, released: Sequence[tuple[int, int]], sequence: int) -> Incoming:
        """Returns them as a frame."""
        frame = gather(self.parts)
        if frame.ttls_ms:
            frame.ttls_ms[:] = self._ttls_ms
        data = frame.SerializeToString()
        spans = [Span(first=first, end=end) for first, end in released]
        return Incoming(data, frame, checksum(data), RELEASER, sequence, released=spans)


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Returns numbers as half-open ranges, in order."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1] = found[-1][0], number + 1
        else:
            found.append((number, number + 1))
    return found
