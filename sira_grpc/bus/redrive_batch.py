"""Dead letters that are about to be published again, in the frames that they go in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sira.bus.internal.v1.stored_frame_pb2 import Redrive
from sira.bus.v1.dead_letter_pb2 import DeadLetter
from sira.bus.v1.frame_pb2 import Frame
from sira.bus.v1.record_pb2 import Record
from sira_client.frames import checksum, pack

from sira_grpc.bus.incoming import Incoming

BATCH_LETTERS = 200
BATCH_BYTES = 1 << 20
"""What is moved at once, about: that much may be redriven twice if the kernel is killed. One may be larger."""


class Place(NamedTuple):
    """Where a record goes.

    Attributes:
        topic: name of the topic.
        uid: of the topic: one that was created again is another.
        partition: of it; None for any.
    """

    topic: str
    uid: str
    partition: int | None


@dataclass(slots=True)
class Run:
    """Records that go to one place, one after the other, in one frame.

    Attributes:
        redrives: how often each was redriven, this time included.
        ids: of the dead letters.
        records: in the same order.
    """

    redrives: int
    ids: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def incoming(self, subscription_uid: str) -> Incoming:
        """Returns the frame, for a subscription alone or, if that is empty, for all."""
        data = pack(self.records)
        redrive = Redrive(subscription_uid=subscription_uid, redrives=self.redrives)
        return Incoming(data, Frame.FromString(data), checksum(data), redrive=redrive)


class Batch:
    """Dead letters to move at once."""

    def __init__(self) -> None:
        self._runs: defaultdict[Place, list[Run]] = defaultdict(list)
        self._size = 0
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether it should take no more."""
        return self.count >= BATCH_LETTERS or self._size >= BATCH_BYTES

    def add(self, dead: int, letter: DeadLetter, place: Place) -> None:
        """Adds a dead letter. For one place, the oldest must come first."""
        record = revived(letter)
        runs = self._runs[place]
        redrives = letter.redrives + 1
        if not runs or runs[-1].redrives != redrives:
            runs.append(Run(redrives))
        runs[-1].ids.append(dead)
        runs[-1].records.append(record)
        self._size += record.ByteSize()
        self.count += 1

    def lanes(self) -> Iterator[tuple[Place, Sequence[Run]]]:
        """Yields the frames for each place, in their order."""
        yield from self._runs.items()


def revived(letter: DeadLetter) -> Record:
    """Returns the record of a dead letter as it is published again.

    It is delivered at once, and does not expire: its time would be over. When that happened of which it tells stays as
    it was.
    """
    record = Record()
    record.CopyFrom(letter.record)
    record.ClearField("ttl")
    record.ClearField("deliver_at")
    if not record.HasField("event_time") and letter.HasField("publish_time"):
        record.event_time.CopyFrom(letter.publish_time)
    return record


def size_of(record: Record) -> int:
    """Returns the size of a record as max_record_bytes counts it."""
    return len(record.payload) + len(record.key) + record.attributes.ByteSize()
