"""Reads the records of a frame, each when it is asked for."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate, pairwise

from google.protobuf.message import DecodeError
from sira.bus.v1.frame_pb2 import Frame
from sira.bus.v1.record_pb2 import Attributes, Record

from sira_client.frames.compression import decompress

_NO_ATTRIBUTES = Attributes()


class FrameReader:
    """The records of a serialized frame by index, from 0. Payloads are decompressed when the first one is asked for.

    The frame must be one that keeps the rules, as those that the kernel has taken do.

    Raises:
        ValueError: it is no frame at all; from `payload` and `record`, its payloads cannot be decompressed.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self.frame = Frame.FromString(data)
        except DecodeError as error:
            raise ValueError("not a serialized frame") from error
        self.count = self.frame.count

    @cached_property
    def _payloads(self) -> bytes:
        frame = self.frame
        return decompress(frame.payloads, frame.compression, frame.payloads_bytes)

    @cached_property
    def _bounds(self) -> list[int]:
        """Where each payload begins, and where the last one ends."""
        return [0, *accumulate(self.frame.payload_sizes)]

    @cached_property
    def keys(self) -> list[bytes]:
        """The key of each record; empty if none has one."""
        keys, start, found = self.frame.keys, 0, []
        for size in self.frame.key_sizes:
            found.append(keys[start : start + size])
            start += size
        return found

    def payloads(self) -> list[bytes]:
        """Returns the payload of each record."""
        whole = self._payloads
        return [whole[start:end] for start, end in pairwise(self._bounds)]

    def payload(self, index: int) -> bytes:
        """Returns a record's payload."""
        bounds = self._bounds
        return self._payloads[bounds[index] : bounds[index + 1]]

    def key(self, index: int) -> bytes:
        """Returns a record's key; empty if it has none."""
        return self.keys[index] if self.keys else b""

    def id(self, index: int) -> str:
        """Returns a record's id; empty if it has none."""
        return self.frame.ids[index] if self.frame.ids else ""

    def attributes(self, index: int) -> Attributes:
        """Returns what a record says of itself. Not to be changed: records may share it."""
        if self.frame.attributes:
            own = self.frame.attributes[index]
            if own != _NO_ATTRIBUTES:
                return own
        return self.frame.common_attributes

    def event_time_ns(self, index: int) -> int:
        """Returns a record's event time in Unix nanoseconds; 0 if it was not given one."""
        return self.frame.event_times_ns[index] if self.frame.event_times_ns else 0

    def ttl_ms(self, index: int) -> int:
        """Returns a record's TTL in milliseconds; 0 if it has none."""
        return self.frame.ttls_ms[index] if self.frame.ttls_ms else 0

    def deliver_at_ns(self, index: int) -> int:
        """Returns when a record was to be delivered at the earliest, in Unix nanoseconds; 0 if at once."""
        return self.frame.deliver_at_ns[index] if self.frame.deliver_at_ns else 0

    def record(self, index: int) -> Record:
        """Returns a record, whole."""
        record = Record(id=self.id(index), key=self.key(index), payload=self.payload(index))
        attributes = self.attributes(index)
        if attributes != _NO_ATTRIBUTES:
            record.attributes.CopyFrom(attributes)
        if event_time_ns := self.event_time_ns(index):
            record.event_time.FromNanoseconds(event_time_ns)
        if ttl_ms := self.ttl_ms(index):
            record.ttl.FromMilliseconds(ttl_ms)
        if deliver_at_ns := self.deliver_at_ns(index):
            record.deliver_at.FromNanoseconds(deliver_at_ns)
        return record
