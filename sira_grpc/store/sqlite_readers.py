"""The threads that read, each with a connection of its own, so that neither the event loop nor the writer waits."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sira_grpc.store.sqlite_errors import closed, translate

READERS = 2
"""Two, so that a long snapshot does not hold up a get."""

T = TypeVar("T")


class Readers:
    """A small pool of reading connections."""

    def __init__(self, path: Path, connections: Sequence[sqlite3.Connection]) -> None:
        self._path = path
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for db in connections:
            self._idle.put(db)
        self._count = len(connections)
        self._threads = ThreadPoolExecutor(self._count, thread_name_prefix="sira-store-read")
        self._closing: asyncio.Task[None] | None = None

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Runs read in a thread. It sees everything that was durable when this was called.

        Raises:
            SiraError: what read raised, or StoreUnavailable when the store is closed.
        """
        self.check_open()
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, read)

    def check_open(self) -> None:
        """Raises StoreUnavailable if the store is closed."""
        if self._closing:
            raise closed(self._path)

    def _run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        db = self._idle.get()
        try:
            return read(db)
        except Exception as error:
            if isinstance(error, (sqlite3.Error, ValueError)):
                raise translate(error, self._path) from error
            raise
        finally:
            self._idle.put(db)

    async def close(self) -> None:
        """Waits for the reads under way and closes the connections. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.create_task(asyncio.to_thread(self._close))
        await asyncio.shield(self._closing)

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        for _ in range(self._count):
            self._idle.get().close()


@contextmanager
def one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """Makes every statement of the block see the file as it is at the first."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
