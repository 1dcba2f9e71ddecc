"""`python -m tests.faults [--seconds 600] [--seed 1]`: breaks a cluster for a while, and tells what came of it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults.report import Outcome
from tests.faults.trial import LOADS, run


def main() -> int:
    """Runs, and returns 1 if anything was wrong. What was written is kept then."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long; default 600")
    parser.add_argument("--seed", type=int, default=None, help="draws the faults; default: a new one each time")
    parser.add_argument("--load", choices=LOADS, action="append", help="only this one; repeatable; default: all")
    parser.add_argument("--folder", type=Path, default=None, help="for data and logs; default: a temporary one")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sira-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}; data and logs in {folder}", flush=True)
    outcome = asyncio.run(_run(folder, seed, options.seconds, options.load or LOADS))
    print(outcome)
    return bool(outcome.violations)


async def _run(folder: Path, seed: int, seconds: float, loads: Sequence[str]) -> Outcome:
    """Runs to the end, or until SIGTERM, and leaves no process behind."""
    task = asyncio.current_task()
    assert task is not None, "this is one"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(folder, seed, seconds, _say, loads=loads)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
