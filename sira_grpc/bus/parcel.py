"""Records of one frame on their way to a consumer, and the message that carries them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp
from sira.bus.v1.subscription_service_pb2 import Delivery, OffsetRange, SubscribeResponse
from sira_client.frames import checksum, cut
from sira_client.frames.cutting import cheap_to_cut

from sira_grpc.bus.partition import Partition
from sira_grpc.bus.stored import Held

CUT_SHARE = 2
"""A frame of which less than one in so many records are wanted is cut, where that is cheap."""


@dataclass(slots=True)
class Parcel:
    """Records of a frame.

    Attributes:
        held: the frame.
        attempt: which delivery of them it is; 0 where that is not counted.
        spans: their offsets, in order.
    """

    held: Held
    attempt: int
    spans: list[tuple[int, int]] = field(default_factory=list)

    def message(self, partition: Partition, left_out: Sequence[int]) -> tuple[bytes, int, int]:
        """Returns the serialized response, how many records it delivers, and the size of its frame.

        Args:
            partition: that the frame is of.
            left_out: places of records in the frame that are not to be delivered.
        """
        held = self.held
        delivery = Delivery(
            topic=partition.topic,
            partition=partition.number,
            base_offset=held.base,
            attempt=self.attempt,
            publish_time=Timestamp(seconds=held.publish_ns // 1_000_000_000, nanos=held.publish_ns % 1_000_000_000),
            checksum=held.checksum,
        )
        if self.spans == [(held.base, held.end)] and not left_out:
            delivery.offsets.extend(held.offsets)
            delivery.frame = held.data
            return SubscribeResponse(delivery=delivery).SerializeToString(), held.count, len(held.data)
        wanted = self.places(left_out)
        if len(wanted) * CUT_SHARE < held.count and cheap_to_cut(held.reader.frame):
            _cut(delivery, held, wanted)
        else:
            delivery.offsets.extend(held.offsets)
            delivery.ranges.extend(_ranges([held.offset_of(place) for place in wanted]))
            delivery.frame = held.data
        size = len(delivery.frame)
        return SubscribeResponse(delivery=delivery).SerializeToString(), len(wanted), size

    def places(self, left_out: Sequence[int] = ()) -> list[int]:
        """Returns the places in the frame of the records that are there, without those that are left out."""
        held, without = self.held, set(left_out)
        if not held.offsets:
            places = [place - held.base for first, end in self.spans for place in range(first, end)]
        else:
            wanted = set[int]()
            for first, end in self.spans:
                wanted.update(range(first, end))
            places = [place for place, offset in enumerate(held.offsets) if offset in wanted]
        return [place for place in places if place not in without] if without else places


def _cut(delivery: Delivery, held: Held, wanted: Sequence[int]) -> None:
    offsets = [held.offset_of(place) for place in wanted]
    delivery.frame = cut(held.reader, wanted)
    delivery.checksum = checksum(delivery.frame)
    delivery.base_offset = offsets[0]
    if offsets[-1] - offsets[0] + 1 != len(offsets):
        delivery.offsets.extend(offsets)


def _ranges(offsets: Sequence[int]) -> list[OffsetRange]:
    ranges: list[OffsetRange] = []
    first = previous = -2
    for offset in offsets:
        if offset != previous + 1:
            if first >= 0:
                ranges.append(OffsetRange(first=first, end=previous + 1))
            first = offset
        previous = offset
    if first >= 0:
        ranges.append(OffsetRange(first=first, end=previous + 1))
    return ranges
