"""A log of stored frames, and where in it an offset is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from sira_grpc.bus.stored import CorruptFrame, Held, open_stored
from sira_grpc.errors import StoreCorrupt
from sira_grpc.store.api import Frame, LogStore

READ_FRAMES = 256
READ_BYTES = 1 << 20
"""What is read at once. A frame may be larger."""
INDEX_EVERY = 64
"""Every so many frames, a place is remembered."""
MAX_PLACES = 65_536


class Segment:
    """Finds and reads the frames of one log.

    Attributes:
        name: of the log.
        first, next: the numbers of the frames that it holds.
    """

    def __init__(self, logs: LogStore, name: str) -> None:
        self.logs = logs
        self.name = name
        self.first = 0
        self.next = 0
        # Places that are known, in order: offset of a frame's first record, and the frame's number.
        self._offsets: list[int] = []
        self._numbers: list[int] = []

    async def open(self) -> None:
        """Learns which frames there are."""
        held = await self.logs.range(self.name)
        self.first, self.next = held.first, held.next

    def appended(self, held: Held) -> None:
        """Notes a frame that was appended."""
        self.next = held.number + 1
        self.note(held)

    def note(self, held: Held) -> None:
        """Remembers the place of a frame, now and then; frames come in their order."""
        if not self._numbers or held.number >= self._numbers[-1] + INDEX_EVERY:
            self._offsets.append(held.base)
            self._numbers.append(held.number)
            if len(self._numbers) > MAX_PLACES:
                del self._offsets[::2], self._numbers[::2]

    async def trim(self, before: int) -> None:
        """Forgets the frames below a number."""
        await self.logs.trim(self.name, before)
        self.first = max(self.first, min(before, self.next))
        gone = bisect_right(self._numbers, self.first - 1)
        del self._offsets[:gone], self._numbers[:gone]

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
            start = found[-1].end if found else await self._end_before(number)
            found.append(Held.lost(lost[0], min(start, held.base), held.base))
            found.append(held)
            return found
        return found

    async def _read_one(self, number: int) -> Held | None:
        try:
            frames = await self.logs.read(self.name, number, max_frames=1, max_bytes=1)
            return open_stored(frames[0].offset, frames[0].data)[0] if frames else None
        except (StoreCorrupt, CorruptFrame):
            return None

    async def _end_before(self, number: int) -> int:
        """Returns the offset after the last good frame before a number; 0 if there is none."""
        for current in range(number - 1, self.first - 1, -1):
            held = await self._read_one(current)
            if held is not None:
                return held.end
        return 0

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

    async def raw(self, number: int) -> Sequence[Frame]:
        """Reads a few frames as they are stored.

        Raises:
            StoreCorrupt: the store finds one of them damaged.
        """
        return await self.logs.read(self.name, number, max_frames=READ_FRAMES, max_bytes=READ_BYTES)
