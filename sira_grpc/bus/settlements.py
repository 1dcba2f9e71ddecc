"""What a subscription has settled in a partition, on a log of steps that is now and then summed up and begun anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sira.bus.internal.v1.settlement_record_pb2 import RetryRecord, SettlementRecord
from sira.bus.internal.v1.stored_frame_pb2 import Span

from sira_grpc.bus.delivery import Retry
from sira_grpc.bus.pump import Pump
from sira_grpc.bus.spans import Spans
from sira_grpc.clock import Clock
from sira_grpc.errors import SiraError, StoreUnavailable
from sira_grpc.store.api import LogStore
from sira_grpc.times import NANOS

SNAPSHOT_STEPS = 1000
"""Steps after which they are summed up: what an opening reads."""
SPANS_A_RECORD = 50_000
"""Spans in one record, so that it fits into a frame of a log."""
READ_FRAMES = 256
READ_BYTES = 4 << 20
STEP_BYTES = 64
"""Roughly what a step takes."""
SPACING_SECONDS = 0.002
"""From one write to the next. What consumers settle one by one is written together, so that it does not take the disk
from those who publish; who settles now and then is not held up."""
BATCH_STEPS = 1000
BATCH_BYTES = 256 << 10


@dataclass(slots=True)
class Recovered:
    """What the log says.

    Attributes:
        settled: which records are settled.
        retries: those that were delivered in vain.
        dead_letters: the dead letters up to before this number are contained in it.
        steps: how many records the log has; 0 where the subscription is new to the partition.
    """

    settled: Spans
    retries: list[Retry]
    dead_letters: int
    steps: int


@dataclass(slots=True, eq=False)
class _Step:
    settled: Sequence[tuple[int, int]]
    retries: Sequence[Retry]
    dead_letters: int
    restart: bool
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Settlements:
    """The log of one subscription in one partition.

    Args:
        logs, name: where it is.
        clock: relates monotonic times, which do not outlive the process, to wall-clock times, which do.
        sum_up: returns the settled records and the retries as they are now.
    """

    def __init__(
        self, logs: LogStore, name: str, clock: Clock, sum_up: Callable[[], tuple[Spans, Sequence[Retry]]]
    ) -> None:
        self._logs = logs
        self._name = name
        self._clock = clock
        self._sum_up = sum_up
        self._next = 0
        self._steps = 0
        self._dead_letters = 0
        self._unsaved: list[_Step] = []
        self._closed = False
        self._error: SiraError | None = None
        self._pump: Pump[_Step] = Pump(
            self._write, f"bus {name}", max_items=BATCH_STEPS, max_bytes=BATCH_BYTES, spacing=SPACING_SECONDS
        )

    async def load(self) -> Recovered:
        """Reads the log."""
        settled, retries = Spans(), list[Retry]()
        held = await self._logs.range(self._name)
        offset, self._next = held.first, held.next
        while offset < held.next and (
            frames := await self._logs.read(self._name, offset, max_frames=READ_FRAMES, max_bytes=READ_BYTES)
        ):
            for frame in frames:
                record = SettlementRecord.FromString(frame.data)
                if record.snapshot:
                    settled, retries = Spans(record.floor), []
                for span in record.settled:
                    settled.add(span.first, span.end)
                retries.extend(self._revived(record.retries))
                self._dead_letters = max(self._dead_letters, record.dead_letters)
                self._steps += 1
            offset = frames[-1].offset + 1
        if offset < held.next:  # what is not known to be settled would be delivered again
            raise StoreUnavailable(f"{self._name}: {offset} to {held.next} are not to be had now", retry_after=0.1)
        return Recovered(settled, retries, self._dead_letters, self._steps)

    def _revived(self, records: Sequence[RetryRecord]) -> Iterator[Retry]:
        shift = self._clock.monotonic() - self._clock.time_ns() / NANOS
        for record in records:
            yield Retry(record.span.first, record.span.end, record.deliveries, record.due_ns / NANOS + shift)

    def note(
        self, settled: Sequence[tuple[int, int]] = (), retries: Sequence[Retry] = (), *, dead_letters: int = 0
    ) -> asyncio.Future[None]:
        """Has a step written; the future is done when it is durable, and fails if it cannot be written now.

        What could not be written is written with the next step.
        """
        return self._put(_Step(settled, retries, dead_letters, restart=False))

    def restart(self, *, dead_letters: int) -> asyncio.Future[None]:
        """Has everything forgotten but what the summing up gives now."""
        return self._put(_Step((), (), dead_letters, restart=True))

    def _put(self, step: _Step) -> asyncio.Future[None]:
        if self._error is not None:
            _fail(step, self._error)
        elif self._closed:
            step.done.set_result(None)
        if self._closed:
            return step.done
        self._pump.put(step, STEP_BYTES + 16 * (len(step.settled) + len(step.retries)))
        return step.done

    async def close(self, error: SiraError | None = None) -> None:
        """Finishes what was noted. What is noted after this is not written: the log may be deleted by then.

        Args:
            error: what is noted after this fails with it; None where it does not matter any more.
        """
        self._closed, self._error = True, error
        await self._pump.idle()

    async def _write(self, steps: list[_Step]) -> None:
        steps = [*self._unsaved, *steps]
        self._unsaved = []
        dead_letters = max(self._dead_letters, *(step.dead_letters for step in steps))
        snapshot = self._steps >= SNAPSHOT_STEPS or any(step.restart for step in steps)
        records = list(self._snapshot() if snapshot else self._delta(steps))
        records[-1].dead_letters = dead_letters
        try:
            data = [record.SerializeToString() for record in records]
            number = await self._logs.append(self._name, data, expected=self._next)
            self._next = number + len(data)
            if snapshot:
                await self._logs.trim(self._name, number)
        except Exception as error:  # noqa: BLE001  whatever it is belongs to those who wait
            self._unsaved = steps
            for step in steps:
                _fail(step, error)
            return
        self._steps = len(records) if snapshot else self._steps + len(records)
        self._dead_letters = dead_letters
        for step in steps:
            if not step.done.done():
                step.done.set_result(None)

    def _delta(self, steps: Sequence[_Step]) -> Iterator[SettlementRecord]:
        settled = Spans(0, (span for step in steps for span in step.settled))
        spans = [(0, settled.floor), *settled.spans()] if settled.floor else settled.spans()
        yield from self._records(spans, [retry for step in steps for retry in step.retries])

    def _snapshot(self) -> Iterator[SettlementRecord]:
        settled, retries = self._sum_up()
        for index, record in enumerate(self._records(settled.spans(), retries)):
            if not index:
                record.snapshot = True
                record.floor = settled.floor
            yield record

    def _records(self, spans: Sequence[tuple[int, int]], retries: Sequence[Retry]) -> Iterator[SettlementRecord]:
        shift = self._clock.time_ns() / NANOS - self._clock.monotonic()
        for start in range(0, max(len(spans), len(retries), 1), SPANS_A_RECORD):
            stop = start + SPANS_A_RECORD
            yield SettlementRecord(
                settled=[Span(first=first, end=end) for first, end in spans[start:stop]],
                retries=[
                    RetryRecord(
                        span=Span(first=retry.first, end=retry.end),
                        deliveries=retry.deliveries,
                        due_ns=round((retry.due + shift) * NANOS),
                    )
                    for retry in retries[start:stop]
                ],
            )


def _fail(step: _Step, error: Exception) -> None:
    if not step.done.done():
        step.done.set_exception(error)
        step.done.exception()  # it may be that nobody waits any more
