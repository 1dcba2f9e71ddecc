"""How far each producer has come in a partition, so that a frame that is sent again is not stored again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from sira.bus.internal.v1.partition_mark_pb2 import ProducerMark

from sira_grpc.errors import SequenceGap

MAX_PRODUCERS = 1000
"""Producers that a partition remembers; the one that has been silent for longest is forgotten first."""
FRAMES_REMEMBERED = 64
"""Frames of a producer whose offsets are remembered: more than a client has in flight."""
SCHEDULED = -1
"""In place of an offset: the records got none yet."""


class _Producer:
    __slots__ = ("frames", "next", "publish_ns")

    def __init__(self, next_sequence: int, publish_ns: int) -> None:
        self.next = next_sequence
        self.publish_ns = publish_ns
        self.frames: deque[tuple[int, int]] = deque(maxlen=FRAMES_REMEMBERED)


class Producers:
    """The producers of one partition."""

    def __init__(self) -> None:
        self._producers: dict[str, _Producer] = {}

    def find(self, producer_id: str, sequence: int, count: int) -> int | None:
        """Returns the offset of a frame that is there already, -1 if it is too old to tell; None if it is new.

        A producer that is not known may begin with any sequence.

        Raises:
            SequenceGap: it is neither the next one nor one that was there; metadata has `expected`.
        """
        producer = self._producers.get(producer_id)
        if producer is None or producer.next == sequence:
            return None
        for first, offset in reversed(producer.frames):
            if first == sequence:
                return offset
        if sequence + count <= producer.next:
            return SCHEDULED
        raise SequenceGap(
            f"producer {producer_id}: the sequence is {sequence}, but {producer.next} comes next",
            metadata={"expected": str(producer.next), "producer": producer_id},
        )

    def note(self, producer_id: str, sequence: int, count: int, offset: int, publish_ns: int) -> None:
        """Remembers a frame."""
        # The order of the dictionary is that of their last frames.
        producer = self._producers.pop(producer_id, None) or _Producer(sequence, publish_ns)
        self._put(producer_id, producer)
        producer.next = sequence + count
        producer.publish_ns = publish_ns
        producer.frames.append((sequence, offset))

    def _put(self, producer_id: str, producer: _Producer) -> None:
        self._producers[producer_id] = producer
        if len(self._producers) > MAX_PRODUCERS:
            del self._producers[next(iter(self._producers))]

    def retract(self, producer_id: str, sequence: int) -> None:
        """Forgets the newest frame of a producer: it could not be stored."""
        producer = self._producers.get(producer_id)
        if producer is not None and producer.frames and producer.frames[-1][0] == sequence:
            producer.frames.pop()
            producer.next = sequence

    def expect(self, producer_id: str, sequence: int, now_ns: int) -> None:
        """Has a producer that is not known begin with a frame that was refused: none that follows it may come first."""
        if producer_id not in self._producers:
            self._put(producer_id, _Producer(sequence, now_ns))

    def recall(self, producer_id: str, sequence: int, count: int, publish_ns: int) -> None:
        """Notes a scheduled frame that was found at opening, unless more is known of its producer."""
        producer = self._producers.get(producer_id)
        if producer is None:
            oldest = next(iter(self._producers.values()), None)
            if len(self._producers) == MAX_PRODUCERS and oldest is not None and publish_ns < oldest.publish_ns:
                return
        elif sequence + count <= producer.next:
            return
        self.note(producer_id, sequence, count, SCHEDULED, publish_ns)

    def next_sequence(self, producer_id: str) -> int:
        """Returns the sequence that comes next; 1 if the producer is not known."""
        producer = self._producers.get(producer_id)
        return producer.next if producer is not None else 1

    def last_offset(self, producer_id: str) -> int | None:
        """Returns the offset of a producer's newest frame; None if it has none."""
        producer = self._producers.get(producer_id)
        return producer.frames[-1][1] if producer is not None and producer.frames else None

    def marks(self) -> Iterable[ProducerMark]:
        """Returns all that is known, to be stored."""
        for producer_id, producer in self._producers.items():
            yield ProducerMark(
                producer_id=producer_id,
                next_sequence=producer.next,
                publish_ns=producer.publish_ns,
                sequences=[sequence for sequence, _ in producer.frames],
                offsets=[offset for _, offset in producer.frames],
            )

    def load(self, marks: Iterable[ProducerMark]) -> None:
        """Takes what was stored."""
        for mark in marks:
            producer = self._producers[mark.producer_id] = _Producer(mark.next_sequence, mark.publish_ns)
            producer.frames.extend(zip(mark.sequences, mark.offsets, strict=True))
