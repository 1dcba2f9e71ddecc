"""The one thread that writes: it takes whatever waits, commits it as one transaction, and goes on to what came since.

One commit is in flight at a time and nothing lingers: a group is what arrived while the previous one was being synced.
The event loop is called once a group.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sira_grpc.errors import SiraError
from sira_grpc.store.budget import ByteBudget
from sira_grpc.store.sqlite_checkpoints import Checkpoints
from sira_grpc.store.sqlite_errors import closed, translate
from sira_grpc.store.sqlite_garbage import Garbage

GROUP_BYTES = 1 << 20
"""A group takes no more jobs from here on: larger ones would make the first wait for the last."""
QUEUE_BYTES = 32 << 20
"""What may wait for the writer; beyond it callers wait before they are queued."""
IDLE_SECONDS = 0.25
"""How long nothing must have come before the writer cleans up and folds the write-ahead log into the file."""
SWEEP_ROWS = 64
"""Rows of garbage deleted in one transaction when idle, and at least with every group."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """A write that waits for its group: its subclass says what it asks, its outcome how that went."""

    area: Area
    size: int
    future: asyncio.Future[T] = field(init=False)
    outcome: T | SiraError | None = field(default=None, init=False)


class Area(Protocol):
    """One of the things that a store holds (state, logs, blobs), as the writer's thread sees it."""

    def write(self, db: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> Callable[[], None] | None:
        """Carries the jobs out in the group's transaction and sets their outcomes. In the writer's thread.

        Returns what the event loop is to do once that is durable, before the callers learn of it; it must not block.
        """

    def forget(self) -> None:
        """Forgets what the transaction changed: it was rolled back. In the writer's thread."""


class GroupWriter:
    """Owns the writing connection, its thread and its queue. Made and used in one event loop."""

    def __init__(self, db: sqlite3.Connection, path: Path, garbage: Garbage) -> None:
        self.writable = True
        self._db = db
        self._path = path
        self._garbage = garbage
        self._checkpoints = Checkpoints(db)
        self._loop = asyncio.get_running_loop()
        self._budget = ByteBudget(QUEUE_BYTES)
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._closing = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._dirty = bool(garbage)
        # A daemon, so that a program which dies without closing the store does not hang: nothing is lost by that.
        threading.Thread(target=self._run, name="sira-store-write", daemon=True).start()

    async def submit(self, job: Job[T]) -> T:
        """Queues a job, once there is room for it, and waits until it is durable.

        Raises:
            SiraError: the outcome, or StoreUnavailable when the store is closed or cannot write.
        """
        if not self._closing:
            await self._budget.take(job.size)
        if self._closing:
            raise closed(self._path)
        job.future = self._loop.create_future()
        self._queue.put(job)
        return await job.future

    def post(self, job: Job[Any]) -> None:
        """Queues a job whose outcome nobody waits for, room or not; a closed store ignores it."""
        if not self._closing:
            job.size = 0
            job.future = self._loop.create_future()
            job.future.add_done_callback(_retrieve)
            self._queue.put(job)

    async def close(self) -> None:
        """Finishes what is queued and closes the connection. Idempotent."""
        if not self._closing:
            self._closing = True
            self._budget.fail(lambda: closed(self._path))
            self._queue.put(None)
        await asyncio.shield(self._closed)

    # What follows runs in the writer's thread, but for _settle.

    def _run(self) -> None:
        more = True
        while more:
            group, more = self._next_group()
            if group:
                self._commit(group)
            elif more:
                self._clean_up()
        try:
            self._checkpoints.close()
            self._db.close()
        finally:
            self._loop.call_soon_threadsafe(self._closed.set_result, None)

    def _next_group(self) -> tuple[list[Job[Any]], bool]:
        """Waits for jobs. Returns none when it is time to clean up, and False with the last ones."""
        group: list[Job[Any]] = []
        size = 0
        try:
            job = self._queue.get(timeout=IDLE_SECONDS if self._dirty else None)
            while job is not None:
                group.append(job)
                size += job.size
                if size >= GROUP_BYTES:
                    return group, True
                job = self._queue.get_nowait()
        except queue.Empty:
            return group, True
        return group, False

    def _commit(self, group: Sequence[Job[Any]]) -> None:
        by_area: dict[Area, list[Job[Any]]] = {}
        for job in group:
            by_area.setdefault(job.area, []).append(job)
        before = self._db.total_changes
        try:
            self._db.execute("BEGIN")
            effects = [area.write(self._db, jobs) for area, jobs in by_area.items()]
            if self._garbage:
                self._garbage.sweep(self._db, SWEEP_ROWS + 2 * len(group))
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  whatever it is belongs to the callers; the thread must go on
            self._roll_back(by_area)
            for job in group:
                job.outcome = translate(error, self._path)
            self._loop.call_soon_threadsafe(self._settle, group, (), False)
        else:
            wrote = self._db.total_changes > before
            self._dirty = self._dirty or wrote
            self._loop.call_soon_threadsafe(self._settle, group, effects, wrote or None)
            if wrote:
                self._fold(sum(job.size for job in group))

    def _fold(self, size: int) -> None:
        """Has the log folded when it is time. The callers know already that what they wrote is durable."""
        try:
            self._checkpoints.wrote(size)
        except sqlite3.Error as error:  # nothing depends on it, and it is tried again
            _log.warning("the store at %s could not fold its log: %s", self._path, error)

    def _roll_back(self, areas: Iterable[Area]) -> None:
        # A full disk makes SQLite roll back by itself.
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                _log.exception("the store at %s could not roll back", self._path)
        for area in areas:
            area.forget()
        self._garbage.forget()

    def _clean_up(self) -> None:
        """Deletes garbage until a job comes or none is left, then folds the write-ahead log into the file."""
        self._dirty = False
        try:
            while self._garbage and self._queue.empty():
                self._db.execute("BEGIN")
                self._garbage.sweep(self._db, SWEEP_ROWS)
                self._db.execute("COMMIT")
            if self._queue.empty():
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except Exception as error:  # noqa: BLE001  nothing depends on it, and it is tried again after the next write
            self._roll_back(())
            _log.warning("the store at %s could not clean up: %s", self._path, error)

    def _settle(
        self, group: Sequence[Job[Any]], effects: Iterable[Callable[[], None] | None], writable: bool | None
    ) -> None:
        if writable is not None:
            self.writable = writable
        for effect in filter(None, effects):
            effect()
        for job in group:
            if job.future.done():  # its caller was cancelled
                continue
            if isinstance(job.outcome, SiraError):
                job.future.set_exception(job.outcome)
            else:
                job.future.set_result(job.outcome)
        self._budget.give(sum(job.size for job in group))


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Looks at the outcome of a job that nobody waits for, so that asyncio does not warn of it."""
    if not future.cancelled():
        future.exception()
