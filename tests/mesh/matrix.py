"""The matrix: all rows, and how they are run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.mesh.cell import State
from tests.mesh.columns import Caller, Column, calling
from tests.mesh.rows import affinity, endpoints, policy_checks, resilience, routes, security
from tests.mesh.secured import serving
from tests.mesh.trial import Context, Row, Trial, trying
from tests.mesh.world import World, running

ROWS: tuple[Row, ...] = (
    *endpoints.ROWS,
    *affinity.ROWS,
    *routes.ROWS,
    *resilience.ROWS,
    *security.ROWS,
    *policy_checks.ROWS,
)
ROW_SECONDS = 150
"""After which a row is given up; the time that the kernel is away aside."""

Report = Callable[[Trial, float], None]
"""Told of a row that has ended, and how many seconds it took."""


async def run(
    folder: Path, rows: Sequence[Row], columns: Iterable[Column], report: Report, *, away: float, jobs: int
) -> None:
    """Runs rows with columns.

    Args:
        folder: for all that is written.
        rows, columns: which.
        report: see Report.
        away: seconds that the kernel is away in the row of that.
        jobs: rows that run at once, of those that can.
    """
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(running(folder))
        started = [stack.enter_async_context(calling(column, world)) for column in columns]
        callers = await asyncio.gather(*started)
        free = asyncio.Semaphore(jobs)

        async def one(row: Row) -> None:
            async with free:
                await _try(world, row, callers, report, Context(away))

        async with asyncio.TaskGroup() as group:
            for row in sorted(rows, key=lambda row: not row.slow):
                if not row.alone and not row.secured:
                    group.create_task(one(row))
        for row in rows:
            if row.alone:
                await one(row)
        # Last: its servers are clients of the kernel too, of a kind that may not be connected in other rows.
        if any(row.secured for row in rows):
            secured = Context(away, await stack.enter_async_context(serving(world)))
            for row in rows:
                if row.secured:
                    await _try(world, row, callers, report, secured)


async def _try(world: World, row: Row, callers: Sequence[Caller], report: Report, context: Context) -> None:
    began = time.monotonic()
    async with trying(world, row, callers, context) as trial:
        try:
            async with asyncio.timeout(ROW_SECONDS + 3 * context.away):
                await row.run(trial)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is told of, and the other rows go on
            trial.fail(error)
    report(trial, time.monotonic() - began)


def failures(trial: Trial) -> list[str]:
    """What failed in a row, for people."""
    return [f"{cell.column.name}: {cell.note}" for cell in trial.cells if cell.state is State.FAILED]
