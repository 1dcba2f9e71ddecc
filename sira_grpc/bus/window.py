"""The records that ordered mode holds, by offset, and the lanes of their keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sira_grpc.bus.lanes import ACKED, Lane, Record


class Window:
    """Every record that was offered and is not settled."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}  # by offset
        self._lanes: dict[bytes, Lane] = {}  # by key

    def add(self, offset: int, key: bytes) -> Record:
        """Adds a record, later than all others, to the lane of its key; without one, it has a lane of its own."""
        lane = self._lanes.get(key) if key else None
        if lane is None:
            lane = Lane(key)
            if key:
                self._lanes[key] = lane
        record = self.records[offset] = Record(offset, lane)
        lane.append(record)
        return record

    def among(self, first: int, end: int) -> Iterator[Record]:
        """Yields the records in [first, end), in order. They may be removed meanwhile."""
        offsets: Iterable[int] = range(first, end)
        if end - first > len(self.records):
            offsets = sorted(offset for offset in self.records if first <= offset < end)
        for offset in offsets:
            record = self.records.get(offset)
            if record is not None:
                yield record

    def leased(self, consumer: int, first: int, end: int) -> list[Record]:
        """Returns the records in [first, end) that are with a consumer, in order, by looking at each offset."""
        return [
            record
            for record in map(self.records.get, range(first, end))
            if record is not None and record.lease is not None and record.lease.consumer == consumer
        ]

    def remove(self, record: Record, settled: list[int]) -> None:
        """Takes out a record that is not LEASED, and adds those to `settled` that had to wait for it alone."""
        record.lane.remove(record)
        del self.records[record.offset]
        self.settle_head(record.lane, settled)

    def settle_head(self, lane: Lane, settled: list[int]) -> None:
        """Moves what is acknowledged at the head of a lane to `settled`. With its last record the lane is gone."""
        record = lane.head
        while record is not None and record.state == ACKED:
            lane.remove(record)
            del self.records[record.offset]
            settled.append(record.offset)
            record = lane.head
        if record is None and lane.key:
            del self._lanes[lane.key]
