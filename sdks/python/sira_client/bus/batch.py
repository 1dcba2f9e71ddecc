"""The records of one frame, as a consumer of batches has them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self, overload

from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.record import Record
from sira_client.bus.settling import Round
from sira_client.bus.times import duration


class Batch(Sequence[Record]):
    """Records that were delivered together. Each may be settled on its own; the batch settles those that are not.

    `async with batch` acks at the end of the block what is not settled, and on an exception gives it back, as it is
    with a record.

    Args:
        frame: what was delivered.
        positions: those of its records that are here, in order.
        sync: the end of the block waits until the acks are durable.
    """

    __slots__ = ("_frame", "_positions", "_sync")

    def __init__(self, frame: DeliveredFrame, positions: Sequence[int], sync: bool) -> None:
        self._frame = frame
        self._positions = positions
        self._sync = sync

    @property
    def topic(self) -> str:
        """Name of the topic, without the namespace."""
        return self._frame.topic

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self._frame.partition

    @property
    def attempt(self) -> int:
        """Which delivery of these records it is, from 1."""
        return self._frame.attempt

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, slice):
            return [Record(self._frame, position, self._sync) for position in self._positions[index]]
        return Record(self._frame, self._positions[index], self._sync)

    def payloads(self) -> list[bytes]:
        """What the records carry, in order.

        Raises:
            ValueError: it cannot be decompressed.
        """
        frame = self._frame
        if frame.whole and len(self._positions) == frame.count:
            return frame.reader.payloads()
        return [frame.reader.payload(frame.index(position)) for position in self._positions]

    def keys(self) -> list[bytes]:
        """The keys of the records, in order; empty for none."""
        frame = self._frame
        return [frame.reader.key(frame.index(position)) for position in self._positions]

    def offsets(self) -> list[int]:
        """The offsets of the records, in order."""
        return [self._frame.offset(position) for position in self._positions]

    async def ack(self) -> bool:
        """Whatever is not settled is done. Returns when that is durable.

        Returns:
            Whether all of it counted. What did not was not with this consumer any more, or the connection was lost
            before the kernel confirmed: it may be delivered again.
        """
        positions = self._frame.claim_rest(self._positions)
        return await self._counted(positions, self._frame.ack_all(positions))

    async def nak(self, delay: float | None = None, detail: str = "") -> bool:
        """Whatever is not settled is to be delivered again: see Record.nak.

        Raises:
            ValueError: the delay is below 0.
        """
        after = None if delay is None else duration("delay", delay)
        positions = self._frame.claim_rest(self._positions)
        return await self._counted(positions, self._frame.nak(positions, after, detail) if positions else None)

    async def terminate(self, detail: str = "") -> bool:
        """Whatever is not settled cannot be processed: see Record.terminate."""
        positions = self._frame.claim_rest(self._positions)
        return await self._counted(positions, self._frame.terminate(positions, detail) if positions else None)

    async def extend(self, seconds: float) -> bool:
        """The consumer needs so many seconds from now for what is not settled: see Record.extend.

        Raises:
            ValueError: it is below 0.
        """
        timeout = duration("seconds", seconds)
        positions = [] if self._frame.lost else self._frame.open_among(self._positions)
        return await self._counted(positions, self._frame.extend(positions, timeout) if positions else None)

    async def _counted(self, positions: Sequence[int], round_: Round | None) -> bool:
        frame = self._frame
        if round_ is None:
            return not frame.lost
        await round_.answered()
        return not any(round_.uncounted(frame.topic, frame.partition, frame.offset(p)) for p in positions)

    async def __aenter__(self) -> Self:
        """See the class."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """See the class. What was settled in the block stays as it is."""
        frame = self._frame
        if exc_val is not None and not isinstance(exc_val, Exception):
            for position in frame.open_among(self._positions):
                frame.abandon(position)
            return
        positions = frame.claim_rest(self._positions)
        if exc_val is None:
            round_ = frame.ack_all(positions)
            if round_ is not None and self._sync:
                await round_.answered()
        elif positions:
            frame.nak(positions, None, f"{type(exc_val).__name__}: {exc_val}")
