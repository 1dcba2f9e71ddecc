"""The keys whose records are to come again in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter

from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.settling import Round


class _Barred:
    """A key of a partition.

    Attributes:
        last: the offset that came last.
        answer: what the kernel has to answer before anything else is known.
        parked: frames and positions that came meanwhile.
        asking: whether the answer tells which of them are with this consumer.
    """

    __slots__ = ("answer", "asking", "last", "parked")

    def __init__(self) -> None:
        self.last = -1
        self.answer: Round
        self.parked: list[tuple[DeliveredFrame, int]] = []
        self.asking = False


class BarredKeys:
    """Keys of which a record was given back, as long as it is not sure what comes next of them.

    What is on its way when a record is given back was sent before the kernel knew: the kernel takes it back with the
    record, and it must not be handed out. But it may as well have been sent after the kernel gave the record up, and
    then nobody else gets it. So what comes is parked until the kernel has answered, and then asked for: by asking for
    more time for it, which does not count if it was taken back. An offset that is not above the last one settles the
    matter: the kernel has begun again with the key, and everything that is parked was taken back.

    Args:
        hand_out: takes positions of a frame that were parked, and are to be handed out.
        consume: takes how many that were parked are not.
    """

    def __init__(
        self, hand_out: Callable[[DeliveredFrame, Sequence[int]], None], consume: Callable[[int], None]
    ) -> None:
        self._hand_out = hand_out
        self._consume = consume
        self._barred: dict[tuple[str, int, bytes], _Barred] = {}

    def bar(self, topic: str, partition: int, key: bytes, last: int, answer: Round) -> None:
        """A record of the key was given back. `last` is the offset of it that came last."""
        barred = self._barred.setdefault((topic, partition, key), _Barred())
        barred.last = max(barred.last, last)
        barred.answer = answer
        barred.asking = False

    def admit(self, frame: DeliveredFrame) -> Sequence[int]:
        """Parks the records of a frame that came whose keys are barred, and returns the positions of the others."""
        if not self._barred or not frame.reader.keys:
            return range(frame.count)
        admitted = []
        for position in range(frame.count):
            name = frame.topic, frame.partition, frame.reader.key(frame.index(position))
            barred = self._barred.get(name)
            if barred is None:
                admitted.append(position)
            elif (offset := frame.offset(position)) > barred.last:
                barred.last = offset
                barred.parked.append((frame, position))
                frame.park(position)
            else:
                del self._barred[name]
                self._drop(barred)
                admitted.append(position)
        return admitted

    def answered(self, answer: Round) -> None:
        """The kernel has answered, and what it says is not with this consumer was taken back."""
        for name, barred in [item for item in self._barred.items() if item[1].answer is answer]:
            if barred.parked and not barred.asking:
                barred.asking = True
                for frame, position in barred.parked:
                    barred.answer = frame.extend([position], None)
            else:
                del self._barred[name]
                self._release(barred)

    def _release(self, barred: _Barred) -> None:
        for frame, group in groupby(barred.parked, key=itemgetter(0)):
            positions = [position for _, position in group]
            still_here = [position for position in positions if frame.unpark(position)]
            self._consume(len(positions) - len(still_here))
            self._hand_out(frame, still_here)

    def _drop(self, barred: _Barred) -> None:
        for frame, position in barred.parked:
            frame.take_back(position)
        self._consume(len(barred.parked))
