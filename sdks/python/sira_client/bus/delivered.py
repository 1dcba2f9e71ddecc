"""Records that came in one frame, and what has become of each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.subscription_service_pb2 import Delivery

from sira_client.bus.ranges import Ranges, ranges_of
from sira_client.bus.settling import Round, Settler
from sira_client.frames import FrameReader

OPEN, SETTLED, TAKEN_BACK, ABANDONED, PARKED = range(5)
"""What has become of a record: nothing yet; the consumer said it; the kernel has it again; nobody cares for it; it is
not to be handed out for now."""

_AT_ONCE = Duration()


class Holder(Protocol):
    """The stream that records came on."""

    settler: Settler

    def consume(self, records: int, size: int) -> None:
        """What was handed out makes room for more: so many records, and bytes of frames."""

    def released(self, frame: DeliveredFrame) -> None:
        """Nothing of a frame is open any more."""

    def gave_back(self, frame: DeliveredFrame, positions: Sequence[int], round_: Round) -> None:
        """Records of a frame are to be delivered again."""


class DeliveredFrame:
    """The records of one delivery, by position, from 0: those of the frame that are this consumer's business.

    Attributes:
        topic: name without its namespace.
        partition: number of the partition.
        attempt: which delivery it is, from 1; 0 for a tail.
        publish_time_ns: Unix nanoseconds.
        reader: of the frame.
        count: how many records it has.
        serial: number of the delivery on its stream.
        arrived_ns: when it came, Unix nanoseconds.
        handed: how many positions have been handed out, from the first.
        lost: the stream is over: whatever is not settled is delivered again.
        left: called when a record that was handed out is settled or abandoned; None if nobody counts them.

    Raises:
        ValueError: the frame cannot be read.
    """

    def __init__(self, delivery: Delivery, holder: Holder, *, serial: int, arrived_ns: int) -> None:
        frame = delivery.frame
        self.reader = FrameReader(frame)
        self.topic = delivery.topic
        self.partition = delivery.partition
        self.attempt = delivery.attempt
        self.publish_time_ns = delivery.publish_time.ToNanoseconds()
        self._size = len(frame)
        self.serial = serial
        self.arrived_ns = arrived_ns
        self.handed = 0
        self.lost = False
        self.left: Callable[[], None] | None = None
        self.tick = self.ticks = 0
        self._holder = holder
        base, total = delivery.base_offset, self.reader.count
        self._offsets: Sequence[int] = list(delivery.offsets) or range(base, base + total)
        if len(self._offsets) != total:
            raise ValueError("offsets: must have one entry for each record")
        self._indexes = _chosen(delivery, self._offsets)
        self.count = self._open = len(self._indexes)
        self._states = bytearray(self.count)

    @property
    def whole(self) -> bool:
        """Whether all records of the frame are delivered."""
        return self.count == self.reader.count

    @property
    def perishable(self) -> bool:
        """Whether any record has a TTL."""
        return len(self.reader.frame.ttls_ms) > 0

    def consume(self, records: int, *, last: bool = False) -> None:
        """So many of its records were handed out, and with the last of them its bytes: there is room for more."""
        size = 0
        if last:
            size, self._size = self._size, 0
        self._holder.consume(records, size)

    def release(self) -> None:
        """Nothing is to be settled."""
        self._holder.released(self)

    def index(self, position: int) -> int:
        """Which record of the frame it is."""
        return self._indexes[position]

    def offset(self, position: int) -> int:
        """Its offset."""
        return self._offsets[self._indexes[position]]

    def is_open(self, position: int) -> bool:
        """Whether nothing has become of it yet."""
        return not self._states[position]

    def unsaid(self, position: int) -> bool:
        """Whether the consumer has not said what has become of it."""
        return self._states[position] != SETTLED

    def open_positions(self, start: int = 0) -> Sequence[int]:
        """The positions from `start` on of which nothing has become yet."""
        return self.open_among(range(start, self.count))

    def open_among(self, positions: Sequence[int]) -> Sequence[int]:
        """Those of these positions of which nothing has become yet."""
        states = self._states
        return [position for position in positions if not states[position]] if any(states) else positions

    def expired(self, position: int, now_ns: int) -> bool:
        """Whether its TTL ran out while it waited here. If this clock says that it had before, the clock is wrong."""
        index = self._indexes[position]
        ttl_ms = self.reader.ttl_ms(index)
        if not ttl_ms:
            return False
        end = max(self.publish_time_ns, self.reader.deliver_at_ns(index)) + ttl_ms * 1_000_000
        return self.arrived_ns < end <= now_ns

    def claim(self, position: int) -> bool:
        """The consumer says what has become of a record. Whether it is still with this consumer.

        Raises:
            RuntimeError: it has said so before.
        """
        state = self._states[position]
        if state == SETTLED:
            raise RuntimeError("the record is settled already")
        self._states[position] = SETTLED
        if self.left is not None and state != ABANDONED:
            self.left()
        if state == TAKEN_BACK or self.lost:
            return False
        if state == OPEN:
            self._close(1)
        return True

    def claim_rest(self, positions: Sequence[int]) -> Sequence[int]:
        """Claims whatever of these is open, and returns the positions. None is if the stream is over."""
        if self.lost:
            return []
        positions = self.open_among(positions)
        if len(positions) == self.count:
            self._states = bytearray([SETTLED]) * self.count
        else:
            for position in positions:
                self._states[position] = SETTLED
        if positions:
            self._close(len(positions))
        return positions

    def abandon(self, position: int) -> None:
        """Nobody says what has become of a record: it is delivered again when its time is over."""
        if self._states[position] == OPEN:
            self._states[position] = ABANDONED
            self._close(1)
            if self.left is not None:
                self.left()

    def take_back(self, position: int) -> None:
        """The kernel has a record again."""
        if self._states[position] in {OPEN, PARKED}:
            self._states[position] = TAKEN_BACK
            self._close(1)

    def park(self, position: int) -> None:
        """A record is not to be handed out for now."""
        self._states[position] = PARKED

    def unpark(self, position: int) -> bool:
        """A record may be handed out now. Whether it is still here."""
        if self._states[position] != PARKED or self.lost:
            return False
        self._states[position] = OPEN
        return True

    def ack(self, position: int) -> Round:
        """Says that a claimed record is done."""
        offset = self._offsets[self._indexes[position]]
        return self._holder.settler.ack(self.topic, self.partition, offset, offset + 1)

    def ack_all(self, positions: Sequence[int]) -> Round | None:
        """Says that claimed records, any number of them, are done."""
        settler, result = self._holder.settler, None
        if len(positions) == self.count and isinstance(self._indexes, range) and isinstance(self._offsets, range):
            first = self.offset(0)
            return settler.ack(self.topic, self.partition, first, first + self.count)
        for position in positions:
            offset = self.offset(position)
            result = settler.ack(self.topic, self.partition, offset, offset + 1)
        return result

    def nak(self, positions: Sequence[int], delay: Duration | None, detail: str) -> Round:
        """Gives claimed records back, at least one."""
        round_ = self._holder.settler.nak(self.topic, self.partition, self.ranges(positions), delay, detail)
        self._holder.gave_back(self, positions, round_)
        return round_

    def give_back(self, positions: Sequence[int], detail: str) -> None:
        """Gives records back that were not handed out, if there are any, to be delivered again at once."""
        for position in positions:
            self._states[position] = SETTLED
        if positions and not self.lost:
            self._close(len(positions))
            self.nak(positions, _AT_ONCE, detail)

    def terminate(self, positions: Sequence[int], detail: str) -> Round:
        """Gives claimed records up, at least one."""
        return self._holder.settler.terminate(self.topic, self.partition, self.ranges(positions), detail)

    def extend(self, positions: Sequence[int], timeout: Duration | None) -> Round:
        """Asks for more time for records, at least one."""
        return self._holder.settler.extend(self.topic, self.partition, self.ranges(positions), timeout)

    def ranges(self, positions: Sequence[int]) -> Ranges:
        """The offsets of these positions."""
        return ranges_of(map(self.offset, positions))

    def positions_of(self, first: int, end: int) -> Iterator[int]:
        """The positions whose offsets are from first to before end."""
        return (position for position in range(self.count) if first <= self.offset(position) < end)

    def _close(self, count: int) -> None:
        self._open -= count
        if not self._open:
            self._holder.released(self)


def _chosen(delivery: Delivery, offsets: Sequence[int]) -> Sequence[int]:
    """The indexes of the records of a frame that are delivered."""
    if not delivery.ranges:
        return range(len(offsets))
    bounds = [(bisect_left(offsets, one.first), bisect_left(offsets, one.end)) for one in delivery.ranges]
    if len(bounds) == 1:
        return range(*bounds[0])
    return [index for start, end in bounds for index in range(start, end)]
