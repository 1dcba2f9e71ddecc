"""`python -m tests.mesh`: runs the matrix of scenarios and real clients, and tells how every cell came out."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mesh import table
from tests.mesh.builds import ROOT
from tests.mesh.cell import State
from tests.mesh.columns import COLUMNS, Column
from tests.mesh.matrix import ROWS, failures, run
from tests.mesh.trial import Row, Trial
from tests.mesh.versions import version

DOCUMENT = ROOT / "docs" / "xds.md"
AWAY_SECONDS = 60.0
JOBS = 4


def main() -> int:
    """Runs it, and returns 1 if a cell failed."""
    options = _options()
    logging.basicConfig(level=logging.ERROR)
    rows = [row for row in ROWS if not options.row or row.name in options.row]
    columns = []
    for column in COLUMNS:
        if options.column and column.name not in options.column:
            continue
        missing = column.missing()
        if missing:
            print(f"{column.name} is skipped: {missing}", flush=True)
        else:
            columns.append(column)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sira-mesh-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"logs in {folder}", flush=True)
    began = time.monotonic()
    outcomes = Outcomes()
    asyncio.run(_run(folder, rows, columns, outcomes, options))
    failed = outcomes.close(time.monotonic() - began)
    if len(outcomes.cells) == len(ROWS) * len(COLUMNS):
        made = table.table(ROWS, COLUMNS, {column.name: version(column) for column in columns}, outcomes.cells)
        if options.write:
            table.write(DOCUMENT, made)
        elif not table.same(DOCUMENT.read_text(encoding="utf-8"), made):
            print(f"the table in {DOCUMENT.relative_to(ROOT)} is another: write it with --write", flush=True)
            failed = True
    return int(failed)


async def _run(
    folder: Path, rows: Sequence[Row], columns: Sequence[Column], outcomes: Outcomes, options: argparse.Namespace
) -> None:
    """Runs to the end, or until SIGTERM, and leaves no process behind."""
    task = asyncio.current_task()
    assert task is not None, "this is one"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await run(folder, rows, columns, outcomes.report, away=options.away, jobs=options.jobs)
    for number in range(1, options.again + 1):
        failed = [row for row in rows if outcomes.failed(row)]
        if not failed:
            return
        print("once more, one by one:", *(row.name for row in failed), flush=True)
        again = folder / f"again-{number}"
        again.mkdir()
        await run(again, failed, columns, outcomes.report, away=options.away, jobs=1)


class Outcomes:
    """How the cells came out.

    Attributes:
        cells: by row and column.
    """

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], tuple[State, str]] = {}

    def report(self, trial: Trial, took: float) -> None:
        """Keeps and prints how a row came out."""
        told = []
        for cell in trial.cells:
            self.cells[trial.row.name, cell.column.name] = cell.state, cell.note
            told.append(f"{cell.column.name} {cell.state}")
        print(f"{trial.row.name:12} {took:5.1f} s  {', '.join(told)}", flush=True)
        for line in failures(trial):
            print(f"    {line}", flush=True)

    def failed(self, row: Row) -> bool:
        """Whether a cell of a row failed when it was last run."""
        return any(state is State.FAILED for (name, _), (state, _) in self.cells.items() if name == row.name)

    def close(self, took: float) -> bool:
        """Prints the sum, and returns whether a cell failed."""
        states = [state for state, _ in self.cells.values()]
        passed, bad = states.count(State.PASSED), states.count(State.FAILED)
        unsupported = states.count(State.UNSUPPORTED)
        print(f"{unsupported} cells are not supported by their clients; {took:.0f} s")
        print(f"{passed} passed, {bad} failed")
        return bad > 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mesh", description=__doc__)
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS], help="only this; repeatable")
    parser.add_argument("--column", action="append", choices=[c.name for c in COLUMNS], help="only this; repeatable")
    parser.add_argument("--away", type=float, default=AWAY_SECONDS, help="seconds that the kernel is away; default 60")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"rows that run at once, where they can; default {JOBS}")
    parser.add_argument("--again", type=int, default=0, help="how often rows that fail are run once more; default 0")
    parser.add_argument("--folder", type=Path, default=None, help="for data and logs; default: a temporary one")
    parser.add_argument(
        "--write", action="store_true", help=f"after a whole run: write the table into {DOCUMENT.relative_to(ROOT)}"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
