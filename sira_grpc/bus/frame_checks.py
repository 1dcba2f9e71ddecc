"""Whether the frames of a log are what was written, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import DecodeError
from sira.bus.internal.v1.scheduled_frame_pb2 import ScheduledFrame
from sira.bus.internal.v1.stored_frame_pb2 import StoredFrame
from sira.bus.v1.frame_pb2 import Frame
from sira_client.frames import checksum

from sira_grpc.bus.stored import link

UNKNOWN = -1
"""In place of an offset that cannot be told."""

Damaged = Callable[[int, int, str], None]
"""Is told of a damage: number of the frame, offset of its first record or UNKNOWN, and what is wrong."""


class Checks(Protocol):
    """Checks the frames of a log, in their order."""

    def check(self, number: int, data: bytes) -> int:
        """Checks the next frame, and returns how many records it says that it has."""

    def lost(self, number: int) -> None:
        """Takes note of a frame that the store found damaged."""


class StoredChecks:
    """Checks stored frames: their checksums, that they follow one another, and that they have what they say.

    What is behind a damage, or was taken out before, is not held against the frame that follows.

    Args:
        damaged: see Damaged.
        compacted: offsets may be left out.

    Attributes:
        head: hash of the last frame; empty if there is none, or it cannot be read.
    """

    def __init__(self, damaged: Damaged, *, compacted: bool) -> None:
        self.head = b""
        self._damaged = damaged
        self._compacted = compacted
        # The number that comes next if nothing was left out; and its offset, where it is known.
        self._number = 0
        self._offset: int | None = 0

    def lost(self, number: int) -> None:
        """See Checks."""
        offset = self._offset if self._offset is not None and number == self._number else UNKNOWN
        self._damaged(number, offset, "the store finds it damaged")
        self._unknown(number)

    def check(self, number: int, data: bytes) -> int:
        """See Checks."""
        follows = number == self._number
        try:
            stored = StoredFrame.FromString(data)
            wrong = _wrong_frame(stored.frame, stored.checksum, stored.count)
        except DecodeError:
            self._damaged(
                number, self._offset if follows and self._offset is not None else UNKNOWN, "it cannot be read"
            )
            self._unknown(number)
            return 0
        if wrong:
            self._damaged(number, stored.base_offset, wrong)
            self._unknown(number)
            return stored.count
        known = follows and self._offset is not None
        for wrong in self._misplaced(stored) if known else ():
            self._damaged(number, stored.base_offset, wrong)
        self.head = link(data)
        self._number = number + 1
        self._offset = stored.offsets[-1] + 1 if stored.offsets else stored.base_offset + stored.count
        return stored.count

    def _misplaced(self, stored: StoredFrame) -> list[str]:
        wrong: list[str] = []
        base, expected = stored.base_offset, self._offset
        assert expected is not None, "what came before is known"
        if base < expected or (base > expected and not self._compacted):
            wrong.append(f"its first offset is {base}, where {expected} follows")
        if stored.previous != self.head:
            wrong.append("it holds another hash than that of the frame before it")
        return wrong

    def _unknown(self, number: int) -> None:
        self.head = b""
        self._number = number + 1
        self._offset = None


class ScheduledChecks:
    """Checks scheduled frames.

    Args:
        damaged: see Damaged.
    """

    def __init__(self, damaged: Damaged) -> None:
        self._damaged = damaged

    def lost(self, number: int) -> None:
        """See Checks."""
        self._damaged(number, UNKNOWN, "scheduled records: the store finds them damaged")

    def check(self, number: int, data: bytes) -> int:
        """See Checks."""
        try:
            scheduled = ScheduledFrame.FromString(data)
            wrong = _wrong_frame(scheduled.frame, scheduled.checksum, scheduled.count)
        except DecodeError:
            self._damaged(number, UNKNOWN, "scheduled records: they cannot be read")
            return 0
        if wrong:
            self._damaged(number, UNKNOWN, f"scheduled records: {wrong}")
        return scheduled.count


def _wrong_frame(data: bytes, crc: int, count: int) -> str:
    """Returns what is wrong with a frame; empty if nothing is.

    Raises:
        DecodeError: it is none.
    """
    if checksum(data) != crc:
        return "it does not match its checksum"
    held = Frame.FromString(data).count
    return "" if held == count else f"it has {held} records, where {count} are told"
