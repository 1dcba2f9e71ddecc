"""A set of numbers that only grows, kept in a log, such as the scheduled records of a partition that were released."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from google.protobuf.message import DecodeError
from sira.bus.internal.v1.settlement_record_pb2 import SpansRecord
from sira.bus.internal.v1.stored_frame_pb2 import Span

from sira_grpc.bus.log_reading import read_log
from sira_grpc.bus.pump import Pump
from sira_grpc.bus.span_blocks import SpanBlocks
from sira_grpc.bus.spans import Spans
from sira_grpc.errors import SiraError
from sira_grpc.store.api import LogStore

SNAPSHOT_STEPS = 1000
"""After so many steps, and as many bytes as that takes, the set is written anew, and the steps before are trimmed."""
SPANS_A_RECORD = 10_000
"""Ranges in one record, 220 KB at most."""
RECORDS_AN_APPEND = 50
"""Records that are written at once, 11 MB at most: so that they stay within the size of an append."""
MAX_STEPS = 1000
MAX_SPANS = 100_000
"""Calls, and ranges of them, that are written together. One may have more."""

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
        self.spans = SpanBlocks()
        self._logs = logs
        self._name = name
        # The number that the next record gets.
        self._next = 0
        # Since the last snapshot; and the size of that.
        self._steps = 0
        self._bytes = 0
        self._snapshot_bytes = 0
        self._pump: Pump[_Step] = Pump(self._write, f"bus {name}", max_items=MAX_STEPS, max_bytes=MAX_SPANS)

    async def load(self) -> None:
        """Reads the log. To be called once, before anything else. What a damaged record added is not in the set."""
        held = await self._logs.range(self._name)
        self._next = held.next
        async for frame in read_log(self._logs, self._name, held):
            self._steps += 1
            self._bytes += len(frame.data)
            try:
                record = SpansRecord.FromString(frame.data)
            except DecodeError:
                log.error("%s: record %d is damaged and left out", self._name, frame.offset)
                continue
            # A snapshot holds all that came before it: there is nothing to forget.
            self.spans.add(0, record.floor)
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
            await self._append(_records(ranges))
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
        if self._steps >= SNAPSHOT_STEPS and self._bytes >= self._snapshot_bytes:
            await self._snapshot()

    async def _snapshot(self) -> None:
        """Writes the set anew, then trims what was there before. If that fails, the log has all of it still."""
        records: list[SpansRecord] = []
        for record in _records(self.spans.spans()):
            records.append(record)
            await asyncio.sleep(0)  # of many, others have a turn in between
        records[0].snapshot, records[0].floor = True, self.spans.floor
        self._steps = self._bytes = 0
        try:
            first = await self._append(records)
            await self._logs.trim(self._name, first)
        except SiraError as error:
            log.warning("%s: no snapshot could be written: %s", self._name, error)
        self._snapshot_bytes, self._bytes = self._bytes, 0

    async def _append(self, records: Iterable[SpansRecord]) -> int:
        """Appends records, many of them in parts, and returns the number of the first."""
        first: int | None = None
        frames: Iterator[bytes] = (record.SerializeToString() for record in records)
        while batch := list(islice(frames, RECORDS_AN_APPEND)):
            number = await self._logs.append(self._name, batch, expected=self._next)
            self._next = number + len(batch)
            first = number if first is None else first
            self._steps += len(batch)
            self._bytes += sum(map(len, batch))
        assert first is not None
        return first


def _records(ranges: Iterable[tuple[int, int]]) -> Iterator[SpansRecord]:
    """Yields records of ranges, at least one."""
    left = iter(ranges)
    batch = list(islice(left, SPANS_A_RECORD))
    while True:
        yield SpansRecord(spans=[Span(first=first, end=end) for first, end in batch])
        batch = list(islice(left, SPANS_A_RECORD))
        if not batch:
            return
