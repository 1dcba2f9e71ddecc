"""Makes dead letters of records that a subscription gives up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from sira.bus.internal.v1.settlement_record_pb2 import DeadLetterRecord
from sira.bus.v1.dead_letter_pb2 import DeadLetter, DeadLetterReason

from sira_grpc.bus.delivery import Dead
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
    for each in dead:
        position = each.first
        while position < each.end:
            held = await source.frame(position)
            if held is None or held.base >= each.end:
                batch.spans.append((position, each.end))  # retention was faster: there is nothing to keep
                break
            end = min(held.end, each.end)
            places = _places(held, max(position, held.base), end)
            for index, (place, offset) in enumerate(places):
                record = _record(source, held, place, offset, each, consumer_name(each.consumer), clock)
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


def _places(held: Held, first: int, end: int) -> list[tuple[int, int]]:
    if held.broken:
        return [(0, first)]  # one stands for all: there is nothing to tell them apart
    if not held.offsets:
        return [(offset - held.base, offset) for offset in range(first, end)]
    return [(place, offset) for place, offset in enumerate(held.offsets) if first <= offset < end]


def _record(
    source: Source, held: Held, place: int, offset: int, dead: Dead, consumer: str, clock: Clock
) -> DeadLetterRecord:
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
    if not held.broken:
        try:
            letter.record.CopyFrom(held.reader.record(place))
        except ValueError as error:  # its payloads are not what they say: nobody can read it
            letter.reason = CORRUPT
            letter.detail = str(error)[:MAX_DETAIL]
            letter.record.key = held.reader.key(place)
            letter.record.attributes.CopyFrom(held.reader.attributes(place))
    return DeadLetterRecord(dead_letter=letter.SerializeToString(), log=source.partition.log, offset=offset)
