"""Folds the write-ahead log into the file beside the writer, so that commits wait for little of it.

SQLite would do it within a commit, which then waits for tens of milliseconds. Here a thread of its own copies what
there is while the writer goes on, and the writer copies only what came meanwhile: with nothing left over, the next
commit begins the log anew. https://www.sqlite.org/wal.html#checkpointing
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading

FOLD_BYTES = 16 << 20
"""After so much was written, about, the log is folded."""
COMMIT_BYTES = 12 << 10
"""What a commit takes in the log besides its data, about: pages of the trees that it touches."""

log = logging.getLogger(__name__)


class Checkpoints:
    """The thread that folds, and the count of what it has to. All methods are the writer thread's.

    Args:
        db: the writer's connection.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._database: str = db.execute("PRAGMA database_list").fetchone()[2]
        self._written = 0
        self._folding = False
        self._folded = threading.Event()
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def wrote(self, size: int) -> None:
        """Counts a commit of a size in bytes; begins to fold the log, or finishes it, when it is time."""
        self._written += size + COMMIT_BYTES
        if self._folded.is_set():
            self._folded.clear()
            self._folding = False
            self._written = 0
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        elif self._written >= FOLD_BYTES and not self._folding:
            self._folding = True
            if self._thread is None:
                # A daemon, as the writer: nothing is lost if the program dies.
                self._thread = threading.Thread(target=self._run, name="sira-store-fold", daemon=True)
                self._thread.start()
            self._orders.put(True)

    def close(self) -> None:
        """Waits for what is being folded, and ends the thread."""
        if self._thread is not None:
            self._orders.put(False)
            self._thread.join()

    def _run(self) -> None:
        """The thread: a connection of its own, which does not hold up the writer's."""
        db = sqlite3.connect(self._database, isolation_level=None)
        try:
            while self._orders.get():
                try:
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                except sqlite3.Error as error:
                    log.warning("the store at %s could not fold its log: %s", self._database, error)
                self._folded.set()
        finally:
            db.close()
