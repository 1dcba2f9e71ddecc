"""A log of stored frames, and where in it an offset is."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sira_grpc.bus.stored import CorruptFrame, Held, open_stored
from sira_grpc.errors import StoreCorrupt
from sira_grpc.store.api import Frame, LogStore

READ_FRAMES = 256
READ_BYTES = 1 << 20
"""What is read at once. A frame may be larger."""
INDEX_EVERY = 64
"""Every so many frames, a place is remembered."""
MAX_PLACES = 65_536


class Place(NamedTuple):
    """The beginning of a frame: its number, the offset of its first record, and the bytes of the frames before it."""

    number: int
    offset: int
    size: int


class Segment:
    """Finds and reads the frames of one log.

    Attributes:
        name: of the log.
        first, next: the numbers of the frames that it holds.
        size: bytes of them.
        total: bytes of the frames that were noted, also of those that are gone.
        records: number of the records that it holds. Kept for what was compacted; elsewhere the offsets tell it.
    """

    def __init__(self, logs: LogStore, name: str) -> None:
        self.logs = logs
        self.name = name
        self.first = 0
        self.next = 0
        self.size = 0
        self.total = 0
        self.records = 0
        # Places that are known, in order: offset of a frame's first record, the frame's number, when it was published,
        # and the total before it.
        self._offsets = array("q")
        self._numbers = array("q")
        self._times = array("q")
        self._totals = array("q")

    async def open(self) -> None:
        """Learns which frames there are."""
        held = await self.logs.range(self.name)
        self.first, self.next = held.first, held.next

    def appended(self, held: Held) -> None:
        """Notes a frame that was appended."""
        self.next = held.number + 1
        self.note(held)
        self.size += held.size

    def note(self, held: Held) -> None:
        """Remembers the place of a frame, now and then; frames come in their order."""
        if held.broken:
            return
        if not self._numbers or held.number >= self._numbers[-1] + INDEX_EVERY:
            self._offsets.append(held.base)
            self._numbers.append(held.number)
            self._times.append(held.publish_ns)
            self._totals.append(self.total)
            if len(self._numbers) > MAX_PLACES:
                for places in self._places:
                    del places[1::2]
        self.total += held.size

    @property
    def _places(self) -> tuple[array[int], ...]:
        return self._offsets, self._numbers, self._times, self._totals

    def skip(self, *, before_ns: int, size: int, offset: int) -> Place | None:
        """Returns the furthest place that is known to end what may go: each of the limits allows so much to go.

        Args:
            before_ns: what was published before, Unix nanoseconds.
            size: so many bytes from the first frame on; negative for none.
            offset: records below it.
        """
        known = self.size - self.total  # what goes up to a place is this, and the total there
        at = max(
            bisect_left(self._times, before_ns),
            bisect_right(self._totals, size - known) if size >= 0 else 0,
            bisect_right(self._offsets, offset),
        )
        return Place(self._numbers[at - 1], self._offsets[at - 1], known + self._totals[at - 1]) if at else None

    async def trim(self, before: int, size: int) -> None:
        """Forgets the frames below a number, which have a size together.

        Raises:
            StoreUnavailable: they are forgotten here, and held by the store still.
        """
        if before <= self.first:
            return
        self.first = min(before, self.next)
        self.size = max(0, self.size - size)
        gone = bisect_right(self._numbers, self.first - 1)
        for places in self._places:
            del places[:gone]
        await self.logs.trim(self.name, before)

    async def read(self, number: int, *, max_frames: int = READ_FRAMES, max_bytes: int = READ_BYTES) -> list[Held]:
        """Reads frames from a number on, at least one if there is any.

        What cannot be read is there as a frame that is broken, up to where the next good one begins.
        """
        number = max(number, self.first)
        if number >= self.next:
            return []
        try:
            frames = await self.logs.read(self.name, number, max_frames=max_frames, max_bytes=max_bytes)
            return [open_stored(frame.offset, frame.data)[0] for frame in frames]
        except (StoreCorrupt, CorruptFrame):
            return await self._read_around(number)

    async def _read_around(self, number: int) -> list[Held]:
        """Reads one by one up to the first good frame behind a broken one."""
        found: list[Held] = []
        lost: list[int] = []
        for current in range(number, self.next):
            held = await self._read_one(current)
            if held is None:
                lost.append(current)
                continue
            if not lost:
                found.append(held)
                continue
            start = found[-1].end if found else await self._end_before(number, held.base)
            found.append(Held.lost(lost[0], min(start, held.base), held.base))
            found.append(held)
            return found
        return found

    async def _read_one(self, number: int) -> Held | None:
        try:
            frames = await self.logs.read(self.name, number, max_frames=1, max_bytes=1)
            there = frames and frames[0].offset == number  # or it was trimmed meanwhile
            return open_stored(number, frames[0].data)[0] if there else None
        except (StoreCorrupt, CorruptFrame):
            return None

    async def _end_before(self, number: int, base: int) -> int:
        """Returns the offset after the last good frame before a number.

        If there is none: 0 at the beginning of the log; base where that was trimmed, as it is not known.
        """
        for current in range(number - 1, self.first - 1, -1):
            held = await self._read_one(current)
            if held is not None:
                return held.end
        return base if self.first else 0

    async def find(self, offset: int) -> int:
        """Returns the number of the last frame that begins at an offset or before; `first` if none does."""
        place = bisect_right(self._offsets, offset)
        low = max(self.first, self._numbers[place - 1] if place else self.first)
        high = self._numbers[place] if place < len(self._numbers) else self.next
        return await self._halve(low, high, lambda held: held.base <= offset)

    async def find_time(self, publish_ns: int) -> int:
        """Returns the number of the last frame that was published before a time; `first` if none was."""
        return await self._halve(self.first, self.next, lambda held: held.publish_ns < publish_ns)

    async def _halve(self, low: int, high: int, before: Callable[[Held], bool]) -> int:
        """Returns the last frame from low to before high for which it is so; low if it is so for none.

        By halving. A frame that is broken is passed over.
        """
        while high - low > 1:
            middle = (low + high) // 2
            probe = await self._good_at_or_after(middle, high)
            if probe is None or not before(probe):
                high = middle
            else:
                low = probe.number
        return low

    async def _good_at_or_after(self, number: int, end: int) -> Held | None:
        for current in range(number, end):
            held = await self._read_one(current)
            if held is not None:
                return held
        return None

    async def measure(self) -> None:
        """Reads all frames, to note them."""
        number = self.first
        while frames := await self.read(number):
            for held in frames:
                self.note(held)
                self.size += held.size
                self.records += 0 if held.broken else held.count
            number = frames[-1].number + 1

    async def raw(self, number: int) -> Sequence[Frame]:
        """Reads a few frames as they are stored.

        Raises:
            StoreCorrupt: the store finds one of them damaged.
        """
        return await self.logs.read(self.name, number, max_frames=READ_FRAMES, max_bytes=READ_BYTES)
