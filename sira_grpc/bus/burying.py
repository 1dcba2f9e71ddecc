"""Makes dead letters of records that a subscription gives up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sira.bus.internal.v1.settlement_record_pb2 import DeadLetterRecord
from sira.bus.v1.dead_letter_pb2 import DeadLetter, DeadLetterReason
from sira_client.frames import FrameReader

from sira_grpc.bus.delivery import Dead
from sira_grpc.bus.scheduled import INLINE_BYTES
from sira_grpc.bus.source import Source
from sira_grpc.bus.stored import Held
from sira_grpc.clock import Clock
from sira_grpc.times import timestamp

BATCH_RECORDS = 500
BATCH_BYTES = 2 << 20
MAX_DETAIL = 1024
CORRUPT = DeadLetterReason.DEAD_LETTER_REASON_CORRUPT


@dataclass(slots=True)
class Batch:
    """Dead letters that are written together.

    Attributes:
        records: what is written.
        spans: the offsets that they settle.
    """

    records: list[DeadLetterRecord] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    size: int = 0

    def add(self, record: DeadLetterRecord, span: tuple[int, int]) -> None:
        """Takes a dead letter, which settles some offsets."""
        self.records.append(record)
        self.size += record.ByteSize()
        if self.spans and self.spans[-1][1] == span[0]:
            span = (self.spans.pop()[0], span[1])
        self.spans.append(span)


async def dead_letter_batches(
    source: Source, dead: Sequence[Dead], consumer_name: Callable[[int], str], clock: Clock
) -> AsyncIterator[Batch]:
    """Yields the dead letters of records, in batches."""
    batch = Batch()
    opened: _Opened | None = None
    for each in dead:
        position = each.first
        while position < each.end:
            held = await source.frame(position)
            if held is None or held.base >= each.end:
                batch.spans.append((position, each.end))  # retention was faster: there is nothing to keep
                break
            if opened is None or opened.held is not held:
                opened = await _open(held)
            end = min(held.end, each.end)
            places = _places(held, max(position, held.base), end)
            for index, (place, offset) in enumerate(places):
                record = _record(source, opened, place, offset, each, consumer_name(each.consumer), clock)
                following = places[index + 1][1] if index + 1 < len(places) else end
                batch.add(record, (position, following))
                position = following
                if len(batch.records) >= BATCH_RECORDS or batch.size >= BATCH_BYTES:
                    yield batch
                    batch = Batch()
            if position < end:  # compacted away
                batch.spans.append((position, end))
                position = end
    yield batch


class _Opened(NamedTuple):
    """A frame and its records; `damage` says why its payloads cannot be read."""

    held: Held
    reader: FrameReader
    damage: str


async def _open(held: Held) -> _Opened:
    """Decompresses the payloads once, into a reader of its own: that of the frame, which is kept, would keep them."""
    reader = FrameReader(held.data)
    try:
        if reader.frame.payloads_bytes > INLINE_BYTES:
            await asyncio.to_thread(reader.payload, 0)
        elif not held.broken:
            reader.payload(0)
    except ValueError as error:
        return _Opened(held, reader, f"{error}")
    return _Opened(held, reader, "")


def _places(held: Held, first: int, end: int) -> list[tuple[int, int]]:
    if held.broken:
        return [(0, first)]  # one stands for all: there is nothing to tell them apart
    if not held.offsets:
        return [(offset - held.base, offset) for offset in range(first, end)]
    return [(place, offset) for place, offset in enumerate(held.offsets) if first <= offset < end]


def _record(
    source: Source, opened: _Opened, place: int, offset: int, dead: Dead, consumer: str, clock: Clock
) -> DeadLetterRecord:
    held = opened.held
    letter = DeadLetter(
        topic=source.partition.topic,
        partition=source.partition.number,
        offset=offset,
        publish_time=timestamp(held.publish_ns),
        reason=dead.reason,
        detail=dead.detail[:MAX_DETAIL],
        deliveries=dead.deliveries,
        consumer=consumer,
        dead_letter_time=timestamp(clock.time_ns()),
        redrives=held.redrives,
    )
    if opened.damage:  # its payloads are not what they say: nobody can read it
        letter.reason = CORRUPT
        letter.detail = opened.damage[:MAX_DETAIL]
        letter.record.key = opened.reader.key(place)
        letter.record.attributes.CopyFrom(opened.reader.attributes(place))
    elif not held.broken:
        letter.record.CopyFrom(opened.reader.record(place))
    return DeadLetterRecord(dead_letter=letter.SerializeToString(), log=source.partition.log, offset=offset)
