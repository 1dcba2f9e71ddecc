"""Numbers what a producer sends, partition by partition, so that nothing is stored twice."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from sira_client.bus.outgoing import OutgoingFrame


class Sequences:
    """Gives each frame the id and the number that it is sent with.

    A partition has an id of its own, so that it can begin anew without the others.

    Args:
        random: draws ids.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ids: dict[int, str] = {}
        self._next: dict[int, int] = {}

    def number(self, frame: OutgoingFrame) -> None:
        """Numbers a frame, unless it has its number."""
        if frame.sequence:
            return
        partition = frame.partition
        if partition not in self._ids:
            self.restart(partition, ())
        frame.producer_id = self._ids[partition]
        frame.sequence = self._next[partition]
        self._next[partition] += frame.count

    def take_back(self, refused: OutgoingFrame, later: Iterable[OutgoingFrame]) -> None:
        """Frees the number of a frame that was refused: the later ones of its partition are numbered again."""
        self._next[refused.partition] = refused.sequence
        _forget(refused.partition, later)

    def restart(self, partition: int, later: Iterable[OutgoingFrame]) -> None:
        """Begins anew in a partition, as another producer: its frames are numbered again."""
        self._ids[partition] = f"{self._random.getrandbits(128):032x}"
        self._next[partition] = 1
        _forget(partition, later)

    def restart_all(self) -> None:
        """Begins anew everywhere. No frame that has a number is to be sent any more."""
        self._ids.clear()


def _forget(partition: int, frames: Iterable[OutgoingFrame]) -> None:
    for frame in frames:
        if frame.partition == partition:
            frame.sequence = 0
