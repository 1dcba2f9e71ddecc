"""A frame on its way into a partition, and what has become of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from sira.bus.internal.v1.stored_frame_pb2 import Redrive, Span
from sira.bus.v1.frame_pb2 import Frame


@dataclass(frozen=True, slots=True)
class Published:
    """Where a frame went.

    Attributes:
        offset: of its first record; -1 if it has none yet, or it is not known any more.
        count: records that were stored.
        duplicate: all of it was there already.
        offsets: of each record that was sent, where some were there already; otherwise empty.
        duplicates: which of them were there already; otherwise empty.
    """

    offset: int
    count: int
    duplicate: bool = False
    offsets: Sequence[int] = ()
    duplicates: Sequence[bool] = ()


@dataclass(slots=True, eq=False)
class Incoming:
    """A frame that keeps the rules.

    Attributes:
        data: the serialized Frame.
        frame: the same, read.
        checksum: CRC-32 of data.
        producer_id, sequence: see PublishFramesRequest; empty and 0 where they do not matter.
        redrive: set where it holds dead letters that come back.
        released: numbers of the scheduled records that it holds.
        sent: number of records that the producer sent; more than the frame has where some were there already.
        taken_ns: when it was taken in, Unix nanoseconds.
        done: gets what has become of it.
    """

    data: bytes
    frame: Frame
    checksum: int
    producer_id: str = ""
    sequence: int = 0
    redrive: Redrive | None = None
    released: Sequence[Span] = ()
    sent: int = field(init=False)
    taken_ns: int = 0
    done: asyncio.Future[Published] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def __post_init__(self) -> None:
        """Counts what was sent."""
        self.sent = self.frame.count

    @property
    def last_due_ns(self) -> int:
        """When the last of its records may be delivered, Unix nanoseconds; 0 for at once."""
        due = self.frame.deliver_at_ns
        return max(due) if due else 0

    @property
    def was_here(self) -> bool:
        """Whether its records were here before, so that their ids are known: their time has come, or they come back."""
        return bool(self.released) or self.redrive is not None

    def settle(self, published: Published) -> None:
        """Tells whoever waits, if they still do."""
        if not self.done.done():
            self.done.set_result(published)

    def fail(self, error: Exception) -> None:
        """Tells whoever waits that it was not stored."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # it may be that nobody waits any more
