"""A set of numbers that only grows, kept in a log, such as the scheduled records of a partition that were released."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from google.protobuf.message import DecodeError
from sira.bus.internal.v1.settlement_record_pb2 import SpansRecord
from sira.bus.internal.v1.stored_frame_pb2 import Span

from sira_grpc.bus.log_reading import read_log
from sira_grpc.bus.pump import Pump
from sira_grpc.bus.spans import Spans
from sira_grpc.errors import SiraError
from sira_grpc.store.api import LogStore

SNAPSHOT_STEPS = 1000
"""After so many steps all of the set is written anew, and the steps before are trimmed."""
SPANS_A_RECORD = 100_000
"""Ranges in one record, 2.2 MB at most: so that it stays within the size of a log's frame."""
SPANS_AN_APPEND = 500_000
"""Ranges that are written at once, 11 MB at most: so that they stay within the size of an append."""

log = logging.getLogger(__name__)


class _Step:
    """Ranges that are to be added, and what has become of that."""

    __slots__ = ("done", "spans")

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self.spans = spans
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class SpanLog:
    """The set, and its log.

    Args:
        logs: where the log is.
        name: of the log.

    Attributes:
        spans: what is durably in the set. Changed by load() and add() alone.
    """

    def __init__(self, logs: LogStore, name: str) -> None:
        self.spans = Spans()
        self._logs = logs
        self._name = name
        self._steps = 0
        self._pump: Pump[_Step] = Pump(self._write, f"bus {name}", max_items=SPANS_AN_APPEND, max_bytes=SPANS_AN_APPEND)

    async def load(self) -> None:
        """Reads the log. To be called once, before anything else. What a damaged record added is not in the set."""
        async for frame in read_log(self._logs, self._name):
            self._steps += 1
            try:
                record = SpansRecord.FromString(frame.data)
            except DecodeError:
                log.error("%s: record %d is damaged and left out", self._name, frame.offset)
                continue
            # A snapshot holds all that came before it: there is nothing to forget.
            self.spans.raise_floor(record.floor)
            for span in record.spans:
                self.spans.add(span.first, span.end)

    async def add(self, spans: Iterable[tuple[int, int]]) -> None:
        """Adds ranges of non-negative numbers, and returns when they are durable. What is in the set is left out.

        Calls that come while another is being written are written together. The set shows them in the end only.
        It is done even if the caller is cancelled meanwhile.

        Raises:
            StoreUnavailable: it was not added.
        """
        fresh = [part for first, end in spans for part in self.spans.missing(first, end)]
        if not fresh:
            return
        step = _Step(fresh)
        self._pump.put(step, len(fresh))
        await step.done

    async def close(self) -> None:
        """Finishes what is being written."""
        await self._pump.idle()

    async def _write(self, steps: list[_Step]) -> None:
        added = Spans(0, (span for step in steps for span in step.spans))
        ranges = [(0, added.floor), *added.spans()] if added.floor else added.spans()
        try:
            await self._append(ranges)
        except Exception as error:  # noqa: BLE001  whatever it is belongs to those who wait
            for step in steps:
                if not step.done.done():
                    step.done.set_exception(error)
                    step.done.exception()  # it may be that nobody waits any more
            return
        for first, end in ranges:
            self.spans.add(first, end)
        for step in steps:
            if not step.done.done():
                step.done.set_result(None)
        if self._steps >= SNAPSHOT_STEPS:
            await self._snapshot()

    async def _snapshot(self) -> None:
        """Writes the set anew, then trims what was there before. If that fails, the log has all of it still."""
        try:
            first = await self._append(self.spans.spans(), floor=self.spans.floor, snapshot=True)
            await self._logs.trim(self._name, first)
        except SiraError as error:
            log.warning("%s: no snapshot could be written: %s", self._name, error)
        self._steps = 0

    async def _append(self, ranges: Sequence[tuple[int, int]], *, floor: int = 0, snapshot: bool = False) -> int:
        """Appends records of ranges, and returns the number of the first record."""
        first: int | None = None
        for start in range(0, max(len(ranges), 1), SPANS_AN_APPEND):
            batch = ranges[start : start + SPANS_AN_APPEND]
            records = [
                SpansRecord(spans=[Span(first=low, end=high) for low, high in batch[at : at + SPANS_A_RECORD]])
                for at in range(0, max(len(batch), 1), SPANS_A_RECORD)
            ]
            if start == 0:
                records[0].snapshot, records[0].floor = snapshot, floor
            number = await self._logs.append(self._name, [record.SerializeToString() for record in records])
            self._steps += len(records)
            first = number if first is None else first
        assert first is not None
        return first
