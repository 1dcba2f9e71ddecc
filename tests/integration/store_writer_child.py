"""Writes to a store until it is killed, and reports each acknowledgement on standard output.

Run as: store_writer_child.py DIRECTORY ROUND. A state commit writes the same value to `left/W/S` and `right/W/S`, and
counts `counter/W` up by compare-and-set; an append has two frames with the same bytes. So half of either shows.
A line is `s WORKER NUMBER` or `l WORKER NUMBER`, written in one piece after the acknowledgement.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sira_grpc.clock import SystemClock
from sira_grpc.store import ABSENT, Put, Store, open_sqlite

SLOTS = 20
WORKERS = 6


async def write_state(store: Store, worker: int, session: int) -> None:
    for number in range(1 << 30):
        value = b"%d.%d" % (session, number)
        entry = await store.get(f"counter/{worker}")
        count = int(entry.value) if entry else 0
        await store.commit(
            [
                Put(f"left/{worker}/{number % SLOTS}", value),
                Put(f"counter/{worker}", b"%d" % (count + 1), entry.revision if entry else ABSENT),
                Put(f"right/{worker}/{number % SLOTS}", value),
            ]
        )
        os.write(1, b"s %d %d\n" % (worker, number))


async def write_log(store: Store, worker: int, session: int) -> None:
    for number in range(1 << 30):
        frame = b"%d.%d.%d" % (session, worker, number)
        await store.append("log", [frame, frame])
        os.write(1, b"l %d %d\n" % (worker, number))


async def main(directory: Path, session: int) -> None:
    os.write(1, b"opening\n")
    store = await open_sqlite(directory, clock=SystemClock(), history_limit=500)
    os.write(1, b"open\n")
    async with asyncio.TaskGroup() as group:
        for worker in range(WORKERS):
            group.create_task(write_state(store, worker, session))
            group.create_task(write_log(store, worker, session))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
