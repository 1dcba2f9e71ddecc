"""The keys whose records are to come again in their order."""

from __future__ import annotations

from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.settling import Round


class BarredKeys:
    """Keys of which a record was given back, until the kernel has answered that.

    What is still on its way then was sent before the kernel knew: it must not overtake the record that comes again.
    """

    def __init__(self) -> None:
        self._barred: dict[tuple[str, int, bytes], tuple[int, Round]] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._barred)

    def bar(self, topic: str, partition: int, key: bytes, offset: int, round_: Round) -> None:
        """A record with this key was given back."""
        before = self._barred.get((topic, partition, key))
        first = offset if before is None else min(offset, before[0])
        self._barred[topic, partition, key] = first, round_

    def find(self, frame: DeliveredFrame) -> list[int]:
        """The positions of a frame that came that are not to be handed out. A key whose record comes again is free."""
        found = []
        for position in frame.open_positions():
            name = frame.topic, frame.partition, frame.reader.key(frame.index(position))
            if (barred := self._barred.get(name)) is None:
                continue
            if frame.offset(position) <= barred[0]:
                del self._barred[name]
            else:
                found.append(position)
        return found

    def forget_answered(self) -> None:
        """Frees the keys that the kernel has answered for."""
        if self._barred:
            self._barred = {name: barred for name, barred in self._barred.items() if not barred[1].done}
