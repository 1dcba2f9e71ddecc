"""Appending to one partition: one append at a time, each of them once, whatever becomes of its acknowledgement.

Every append says at which offset it begins, so of two tries of one append at most one is stored, and a try that arrives
late, after another append, is not. Whether one was stored shows in the frame at that offset: by the append's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sira_grpc.clock import Clock
from sira_grpc.store.conflicts import next_conflict
from sira_grpc.store.nats_envelope import Damaged, FrameMessage, decode_frame, encode_frame
from sira_grpc.store.nats_errors import WRONG_LAST_SEQUENCE, Lost, Refused, unavailable
from sira_grpc.store.nats_link import Link
from sira_grpc.store.nats_publisher import Outgoing, Publisher
from sira_grpc.store.nats_reader import StreamReader
from sira_grpc.store.nats_streams import Streams

TRY_SECONDS = 1.5
PAUSE_SECONDS = 0.1
LIFE = "sira_life"
"""Where a stream's metadata has the life of its partition."""


@dataclass(slots=True)
class Extent:
    """What is known of a partition.

    Attributes:
        life: 8 random bytes that it was given when it was made.
        first, next: the offsets that it holds, or held when that was looked at.
        last_time_ns: when its last frame was appended; 0 if that is not held.
    """

    life: bytes
    first: int
    next: int
    last_time_ns: int = 0


@dataclass(slots=True, eq=False)
class _Append:
    """An append on its way; lost_at: where the try began of which nothing was heard."""

    append_id: bytes
    frames: Sequence[bytes]
    expected: int | None
    lost_at: int | None = None
    sent: bool = False


class Partition:
    """One partition, as this member knows it.

    Attributes:
        extent: what is known of it; None while that is nothing, or it is not there.
    """

    def __init__(
        self,
        name: str,
        names: tuple[str, str],
        link: Link,
        streams: Streams,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.name = name
        self.stream, self.subject = names
        self.extent: Extent | None = None
        self.reader = StreamReader(link, self.stream)
        self.turn = asyncio.Lock()
        self._link = link
        self._streams = streams
        self._clock = clock
        self._random_bytes = random_bytes
        self._publisher = Publisher(link, random_bytes)
        self._known = False

    async def look(self) -> Extent | None:
        """Asks the stream's leader what the partition holds; None if it is not there.

        Raises:
            Lost, Refused: no answer came, or it is an error.
        """
        info = await self._streams.info(self.stream)
        self._take(info)
        return self.extent

    def _take(self, info: Mapping[str, Any] | None) -> None:
        if info is None:
            self.extent = None
            return
        state = info["state"]
        following = int(state["last_seq"])
        first = int(state["first_seq"]) - 1 if state["messages"] else following
        life = bytes.fromhex((info["config"].get("metadata") or {}).get(LIFE, ""))
        before = self.extent
        if before is None or before.life != life:
            self.extent = Extent(life, first, following)
        else:
            # Who was the leader may answer still: what is known already is not unlearnt.
            before.first = max(before.first, first)
            before.next = max(before.next, following)

    async def append(self, frames: Sequence[bytes], expected: int | None, deadline: float) -> int:
        """See LogStore.append. To be run to its end in a task of its own.

        Args:
            frames, expected: see there.
            deadline: when it is given up, in the event loop's time.
        """
        append = _Append(self._random_bytes(16), frames, expected)
        trouble: Exception = Lost("other appends to the partition take too long", sent=False)
        loop = asyncio.get_running_loop()
        async with self.turn:
            while loop.time() < deadline:
                try:
                    await self._link.up(deadline)
                    offset = await self._once(append, min(TRY_SECONDS, max(0.001, deadline - loop.time())))
                    if offset is not None:
                        return offset
                    continue
                except (Lost, Refused) as error:
                    trouble = error
                    self._known = False
                await asyncio.sleep(PAUSE_SECONDS)
        raise unavailable(str(trouble), sent=append.sent)

    async def _once(self, append: _Append, within: float) -> int | None:
        """Makes one try; returns the offset, None if it is to be tried again."""
        fresh = not self._known
        extent = await self._refresh() if fresh else self.extent
        if append.lost_at is not None and extent is not None and extent.next > append.lost_at:
            if await self._is_mine(append, append.lost_at):
                return append.lost_at
            append.lost_at = None
        offset = extent.next if extent else 0
        if append.expected not in {None, offset}:
            if fresh:
                raise next_conflict(self.name, append.expected, offset)
            self._known = False
            return None
        extent = extent or await self._make()
        if extent.next != offset:
            return None  # another member has made it, and appended
        return await self._publish(append, extent, within)

    async def _publish(self, append: _Append, extent: Extent, within: float) -> int | None:
        offset = extent.next
        time_ns = max(self._clock.time_ns(), extent.last_time_ns)
        count = len(append.frames)
        messages = [
            Outgoing(
                self.subject,
                encode_frame(
                    FrameMessage(append.append_id, place, count, time_ns, offset + place - 1, extent.life, data)
                ),
                offset if place == 1 else -1,
                of_stream=True,
            )
            for place, data in enumerate(append.frames, 1)
        ]
        try:
            last = await self._publisher.publish(messages, within=within)
        except Lost as error:
            if error.sent:
                append.sent, append.lost_at = True, offset
            raise
        except Refused as error:
            if error.code not in WRONG_LAST_SEQUENCE:
                raise
            self._known = False
            return None
        if last != offset + count:
            raise Lost(f"the frames are at {last}, not {offset + count}", sent=True)
        extent.next, extent.last_time_ns = last, time_ns
        return offset

    async def _refresh(self) -> Extent | None:
        extent = await self.look()
        if extent is not None:
            extent.last_time_ns = 0
            last = await self.reader.at(extent.next) if extent.next > extent.first else None
            if last is not None:
                with suppress(Damaged):  # whoever reads it will say so
                    extent.last_time_ns = decode_frame(last.payload).time_ns
        self._known = True
        return extent

    async def _make(self) -> Extent:
        """Makes the stream, unless another member has."""
        self._take(
            await self._streams.ensure(self.stream, [self.subject], metadata={LIFE: self._random_bytes(8).hex()})
        )
        assert self.extent is not None, "the stream is there now"
        return self.extent

    async def _is_mine(self, append: _Append, offset: int) -> bool:
        """Says whether a lost try was stored."""
        found = await self.reader.at(offset + 1)
        if found is None:
            raise unavailable("the frames may have been stored, and trimmed since", sent=True)
        with suppress(Damaged):
            return decode_frame(found.payload).append_id == append.append_id
        raise unavailable("the frame that would tell is damaged", sent=True)
