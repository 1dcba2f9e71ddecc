"""What the writer's thread does to the state: the compare-and-set of a group's commits, its rows, its compaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sira_grpc.errors import Conflict
from sira_grpc.store import sqlite_history as history
from sira_grpc.store import sqlite_tombstones as tombstones
from sira_grpc.store.api import ABSENT, Change, Commit, Delete, Op, Put
from sira_grpc.store.conflicts import entry_conflict
from sira_grpc.store.sqlite_bulk import insert, text_list
from sira_grpc.store.sqlite_checksum import checksum
from sira_grpc.store.sqlite_feed import Feed
from sira_grpc.store.sqlite_garbage import Garbage
from sira_grpc.store.sqlite_writer import Job

# Unlike INSERT OR REPLACE, this leaves the row where it is.
_OR_UPDATE = "ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, crc = excluded.crc, data = excluded.data"


@dataclass(slots=True, eq=False)
class CommitJob(Job[int]):
    """A commit of state. `commit` is what it came to, None if it changed nothing."""

    ops: tuple[Op, ...]
    commit: Commit | None = field(default=None, init=False)


@dataclass(slots=True, eq=False)
class CompactJob(Job[None]):
    """A compaction up to and including a revision."""

    revision: int


def newest_revision(db: sqlite3.Connection) -> int:
    """Returns the revision of the newest commit: the history always keeps that one."""
    revision: int = db.execute("SELECT coalesce(max(id), 0) FROM history").fetchone()[0]
    return revision


class StateArea:
    """The state as the writer's thread sees it.

    A group's commits are judged one after the other against the revisions of all their keys, read in one statement;
    what they come to is then written in a few. So a conflict costs the others nothing, and a key that is written by
    several commits of the group is written once.
    """

    def __init__(self, feed: Feed, garbage: Garbage, *, history_limit: int) -> None:
        self._feed = feed
        self._garbage = garbage
        self._history_limit = history_limit
        # Compacting at each commit would write one more row each time.
        self._slack = max(1, history_limit // 16)
        self._durable = (feed.revision, feed.compacted)
        self._revision, self._compacted = self._durable

    def write(self, db: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> Callable[[], None]:
        """See Area."""
        # Called once a transaction, so what the one before has left is durable, or forget() has put it back.
        self._durable = (self._revision, self._compacted)
        commit_jobs = [job for job in jobs if isinstance(job, CommitJob)]
        entries = _Entries(db, {op.key for job in commit_jobs for op in job.ops})
        for job in commit_jobs:
            job.outcome = self._judge(job, entries)
        entries.write(db)
        news = [(job.commit, job.size) for job in commit_jobs if job.commit]
        _write_history(db, [commit for commit, _ in news])
        tombstones.write(db, [commit for commit, _ in news])
        self._compact(db, max((job.revision for job in jobs if isinstance(job, CompactJob)), default=0))
        compacted = self._compacted

        def settle() -> None:
            for commit, size in news:
                self._feed.publish(commit, size)
            self._feed.compact(compacted)
            self._feed.notify()

        return settle

    def forget(self) -> None:
        """See Area."""
        self._revision, self._compacted = self._durable

    def _judge(self, job: CommitJob, entries: _Entries) -> int | Conflict:
        """Applies a commit to the entries, whole or not at all."""
        for op in job.ops:
            found = entries.revision(op.key)
            if op.expected is not None and op.expected != found:
                return entry_conflict(op.key, op.expected, found)
        revision = self._revision + 1
        changes = tuple(
            Change(op.key, op.value if isinstance(op, Put) else None, revision)
            for op in job.ops
            if isinstance(op, Put) or (isinstance(op, Delete) and entries.revision(op.key) != ABSENT)
        )
        if changes:
            self._revision = revision
            job.commit = Commit(revision, changes)
            entries.apply(changes)
        return self._revision

    def _compact(self, db: sqlite3.Connection, revision: int) -> None:
        if self._revision - self._compacted > self._history_limit + self._slack:
            revision = max(revision, self._revision - self._history_limit)
        if revision <= self._compacted:
            return
        self._compacted = revision
        db.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (revision,))
        # The newest row stays, because it holds the revision.
        self._garbage.add(db, "history", 0, min(revision + 1, self._revision))
        self._garbage.add(db, "tombstone", 0, tombstones.first_after(revision))


class _Entries:
    """The entries that a group's commits name: as they are in the file, and then as the commits leave them."""

    def __init__(self, db: sqlite3.Connection, keys: Iterable[str]) -> None:
        self._revisions: dict[str, int] = json.loads(
            db.execute(
                "SELECT json_group_object(key, revision) FROM state WHERE key IN (SELECT value FROM json_each(?))",
                (text_list(keys),),
            ).fetchone()[0]
        )
        self._changes: dict[str, Change] = {}

    def revision(self, key: str) -> int:
        """Returns the entry's revision, ABSENT if there is none."""
        return self._revisions.get(key, ABSENT)

    def apply(self, changes: Iterable[Change]) -> None:
        """Leaves the entries as a commit does."""
        for change in changes:
            self._changes[change.key] = change
            self._revisions[change.key] = ABSENT if change.value is None else change.revision

    def write(self, db: sqlite3.Connection) -> None:
        """Writes the entries that have changed."""
        deleted = [key for key, change in self._changes.items() if change.value is None]
        if deleted:
            db.execute("DELETE FROM state WHERE key IN (SELECT value FROM json_each(?))", (text_list(deleted),))
        values: list[Any] = []
        for key, change in self._changes.items():
            if change.value is not None:
                values += (key, change.revision, checksum(change.value, change.revision, key), change.value)
        insert(db, "INSERT INTO state (key, revision, crc, data)", 4, values, _OR_UPDATE)


def _write_history(db: sqlite3.Connection, commits: Iterable[Commit]) -> None:
    values: list[Any] = []
    for commit in commits:
        data = history.encode(commit.changes)
        values += (commit.revision, checksum(data, commit.revision), data)
    insert(db, "INSERT INTO history", 3, values)
