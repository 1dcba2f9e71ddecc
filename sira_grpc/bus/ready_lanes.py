"""The lanes that have a record to hand out, first come, first served."""

from __future__ import annotations

from collections import OrderedDict

from sira_grpc.bus.lanes import Lane


class ReadyLanes:
    """Queues of lanes: one of those that any consumer may take from, and one for each consumer of those that it owns.

    A lane is in one queue at most; it has its turn by when it got there.
    """

    def __init__(self) -> None:
        self._free: OrderedDict[Lane, None] = OrderedDict()
        self._owned: dict[int, OrderedDict[Lane, None]] = {}  # by consumer
        self._turns = 0

    def place(self, lane: Lane) -> None:
        """Puts a lane where it belongs as it is now. Where it is there already, it keeps its turn."""
        queue = self._queue_for(lane)
        if queue is lane.queue:
            return
        if lane.queue is not None:
            del lane.queue[lane]
        lane.queue = queue
        if queue is not None:
            self._turns += 1
            lane.turn = self._turns
            queue[lane] = None

    def pop(self, consumer: int) -> Lane | None:
        """Takes out the lane whose turn it is of those that a consumer may take from. None if there is none."""
        queue = self._free
        owned = self._owned.get(consumer)
        if owned and (not queue or next(iter(owned)).turn < next(iter(queue)).turn):
            queue = owned
        if not queue:
            return None
        lane, _ = queue.popitem(last=False)
        lane.queue = None
        return lane

    def any(self, consumer: int | None) -> bool:
        """Says whether there is a lane that this consumer, or any, may take from."""
        if self._free:
            return True
        if consumer is None:
            return any(self._owned.values())
        return bool(self._owned.get(consumer))

    def forget(self, consumer: int) -> None:
        """Drops the queue of a consumer that owns no lane any more."""
        self._owned.pop(consumer, None)

    def _queue_for(self, lane: Lane) -> OrderedDict[Lane, None] | None:
        record = lane.next
        if record is None or lane.dying or record.moment is not None:
            return None
        if not lane.leased:
            return self._free
        owned = self._owned.get(lane.owner)
        if owned is None:
            owned = self._owned[lane.owner] = OrderedDict()
        return owned
