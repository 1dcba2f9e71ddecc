"""Makes durable what has become of records: settled, to be delivered again, or given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from sira_grpc.bus.burying import dead_letter_batches
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.bus.delivery import Dead, Outcome
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.source import Source
from sira_grpc.clock import Clock


class Settling:
    """Writes the outcomes of the machines of one subscription.

    Args:
        sources: those of the subscription.
        dead_letters: where it puts what it gives up.
        consumer_name: returns the name of a consumer by its number.
        wake: called when dead letters were written, as records of their keys may follow.
        clock: dates dead letters.
        metrics: counts.
    """

    def __init__(
        self,
        sources: Mapping[tuple[str, int], Source],
        dead_letters: DeadLetters,
        consumer_name: Callable[[int], str],
        wake: Callable[[], None],
        clock: Clock,
        metrics: BusMetrics,
    ) -> None:
        self._sources = sources
        self._dead_letters = dead_letters
        self._consumer_name = consumer_name
        self._wake = wake
        self._clock = clock
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def carry_out(self, source: Source, outcome: Outcome) -> list[asyncio.Future[None]]:
        """Has what an operation has changed written; returns what to wait for until it is durable."""
        waiting: list[asyncio.Future[None]] = []
        if outcome.settled or outcome.retries:
            waiting.append(source.settlements.note(outcome.settled, outcome.retries))
            self._metrics.settled(outcome)
        if outcome.dead:
            waiting.append(self._own(self._bury(source, outcome.dead)))
        return waiting

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="bus dead letters")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it is for the stream that waits, if it still does

    async def close(self) -> None:
        """Waits for what is being written."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _bury(self, source: Source, dead: Sequence[Dead]) -> None:
        """Writes dead letters, which settles their records.

        Raises:
            StoreUnavailable: they were not written. The records will be delivered again.
        """
        machine = source.machine
        async with source.burying:
            if machine is not source.machine:
                return  # somebody has moved the subscription: it will come by there again, or has been there
            try:
                async for batch in dead_letter_batches(source, dead, self._consumer_name, self._clock):
                    if batch.records:
                        source.unnoted.append(self._dead_letters.next)
                        await self._dead_letters.append(batch.records)
                        self._metrics.dead(batch.records)
                    self._settle(source, batch.spans)
            except BaseException:
                now = self._clock.monotonic()
                for each in dead:
                    machine.revive(each.first, each.end, now)  # those that are not settled yet
                raise
            finally:
                self._wake()

    def _settle(self, source: Source, spans: Sequence[tuple[int, int]]) -> None:
        """Settles records whose dead letters are durable. That it is noted here too spares a look at them later."""
        settled = list(spans)
        retries = []
        for first, end in spans:
            outcome = source.machine.bury(first, end)
            settled += outcome.settled
            retries += outcome.retries
        mark = self._dead_letters.next
        noted = source.settlements.note(settled, retries, dead_letters=mark)
        noted.add_done_callback(lambda done: self._noted(source, mark, done))

    def _noted(self, source: Source, mark: int, done: asyncio.Future[None]) -> None:
        """What was noted before is durable when this is; dead letters that all sources know of may go."""
        if done.cancelled() or done.exception() is not None:
            return
        source.unnoted = [number for number in source.unnoted if number >= mark]
        unnoted = [number for each in self._sources.values() for number in each.unnoted]
        self._dead_letters.settled_through = min(unnoted, default=self._dead_letters.next)

    async def recover(
        self, fresh: Collection[tuple[Source, int]], turns: asyncio.Semaphore, *, fence: bool = False
    ) -> None:
        """Settles what became a dead letter when the kernel was killed before it was noted in the settlements.

        Args:
            fresh: sources that were opened, with the number up to which each knows of dead letters.
            turns: so many are done at once.
            fence: something is written to the settlements of each, so that no other member can settle any more what it
                had when it was opened.

        Raises:
            NotOwner: another member has settled something since.
            StoreUnavailable: the store cannot be read, or written.
        """
        each = [self._recover(source, known, turns, fence=fence) for source, known in fresh]
        for outcome in await asyncio.gather(*each, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _recover(self, source: Source, known: int, turns: asyncio.Semaphore, *, fence: bool) -> None:
        fence = fence and not source.partition.settings.in_memory
        if known >= self._dead_letters.next and not fence:
            return
        async with turns:
            for _, offset in await self._dead_letters.buried(source.partition.log, known):
                source.settlements.note(source.machine.skip(offset, offset + 1).settled)
            noted = source.settlements.note(dead_letters=self._dead_letters.next)
            if fence:
                await noted
