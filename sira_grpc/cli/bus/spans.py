"""Which records of a topic are to be replayed: from where, up to where."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sira_grpc.cli.bus.positions import Offset, Position
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira.bus.v1.topic_pb2 import PartitionStatus
    from sira_client.bus import TailStart


class Spans:
    """What is left of each partition of one topic.

    Args:
        topic: name without its namespace.
        partitions: what it holds now; nothing that comes later is meant.
        start: where to begin. An offset means that partition alone.
        end: where to end: what is at an offset, or was published at a time or later, is not meant any more.

    Raises:
        Failure: the offsets are of different partitions, or of one that is not there.
    """

    def __init__(self, topic: str, partitions: Sequence[PartitionStatus], start: Position, end: Position) -> None:
        self._topic = topic
        self._start = start
        self._until = end if isinstance(end, datetime) else None
        self._nexts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        numbers = self._numbers(start, end, len(partitions))
        for each in partitions:
            if each.partition in numbers:
                first = max(each.first_offset, start.offset) if isinstance(start, Offset) else each.first_offset
                last = self._end(end, each)
                if start != "latest" and first < last:
                    self._nexts[each.partition], self._ends[each.partition] = first, last

    @property
    def left(self) -> bool:
        """Whether there is anything left."""
        return bool(self._ends)

    @property
    def tail_start(self) -> TailStart:
        """Where a tail begins that has all of it."""
        if isinstance(self._start, datetime):
            return self._start
        return {(self._topic, partition): first for partition, first in self._nexts.items()}

    def take(self, partition: int, offset: int, publish_time: datetime) -> bool:
        """Whether a record is meant. Those of a partition have to be asked for in their order."""
        end = self._ends.get(partition)
        if end is None:
            return False
        if offset >= end or (self._until is not None and publish_time >= self._until):
            del self._ends[partition]
            return False
        self._nexts[partition] = offset + 1
        if offset + 1 == end:
            del self._ends[partition]
        return True

    def missing(self) -> Sequence[str]:
        """What has not come of each partition, for people. From a time on, nobody knows what there should be."""
        if isinstance(self._start, datetime):
            return []
        return [
            f"{self._topic}/{partition}@{self._nexts[partition]} and what follows it before {end}"
            for partition, end in sorted(self._ends.items())
        ]

    def _numbers(self, start: Position, end: Position, count: int) -> set[int]:
        named = {place.partition for place in (start, end) if isinstance(place, Offset)}
        if len(named) > 1:
            raise Failure("--from and --to: must be offsets of the same partition", ExitCode.USAGE)
        for place in (start, end):
            if isinstance(place, Offset) and place.topic not in {"", self._topic}:
                raise Failure(f"--from and --to: {place.topic!r} is not the topic, {self._topic!r}", ExitCode.USAGE)
        if any(number >= count for number in named):
            raise Failure(f"--from and --to: {self._topic} has {count} partitions, from 0", ExitCode.USAGE)
        return named or set(range(count))

    @staticmethod
    def _end(end: Position, partition: PartitionStatus) -> int:
        if isinstance(end, Offset):
            return min(end.offset, partition.next_offset)
        return partition.first_offset if end == "earliest" else partition.next_offset
