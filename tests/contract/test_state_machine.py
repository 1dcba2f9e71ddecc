from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from sira_grpc.errors import Conflict, RevisionAhead, RevisionCompacted, StoreUnavailable
from sira_grpc.store import ABSENT, Check, Commit, Delete, Op, Put
from tests.contract.engines import Engine
from tests.contract.machine import StoreMachine, check

PREFIXES = ["", "a/", "a/b/", "b/", "nobody/"]
KEYS = ["a/1", "a/2", "a/b/1", "a/b/2", "a-b", "b/1", "c"]
EXPECTATIONS = ["any", "right", "absent", "wrong"]
VALUES = st.binary(max_size=8) | st.sampled_from([b"\0" * 300, bytes(range(256)) * 20])
CHECK = "check"
OPS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.none() | st.just(CHECK) | VALUES, st.sampled_from(EXPECTATIONS)),
    min_size=1,
    max_size=4,
    unique_by=lambda op: op[0],
)

SKIPPED = 200
"""Revisions that an engine may skip in one run, for what changes nothing: checks and compactions."""

Written = tuple[str, bytes | None]


@dataclass
class Watching:
    """An open watch: the index of the model's commit to look at next, and the last revision that was read."""

    feed: AsyncGenerator[Commit, None]
    prefix: str
    position: int
    revision: int


class StateMachine(StoreMachine):
    """The state against a dict and a list of commits. Assumes nothing of revisions but what the protocol says."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, bytes] = {}
        self.revisions: dict[str, int] = {}
        self.commits: list[tuple[int, list[Written]]] = []
        self.revision = self.store.revision
        self.compacted = self.store.compacted
        self.watches: list[Watching] = []

    @rule(drawn=OPS)
    def commit(self, drawn: Sequence[tuple[str, bytes | str | None, str]]) -> None:
        ops = [self._op(*op) for op in drawn]
        wrong = [op.key for op in ops if op.expected not in {None, self.revisions.get(op.key, ABSENT)}]
        if wrong:
            with pytest.raises(Conflict) as conflict:
                self.run(self.store.commit(ops))
            assert conflict.value.metadata["key"] in wrong
            return
        self._committed(self.run(self.store.commit(ops)), ops)

    def _op(self, key: str, value: bytes | str | None, expectation: str) -> Op:
        found = self.revisions.get(key, ABSENT)
        expected = {"any": None, "right": found, "absent": ABSENT, "wrong": found + 1}[expectation]
        if isinstance(value, str):
            return Check(key, found if expected is None else expected)
        return Delete(key, expected) if value is None else Put(key, value, expected)

    def _committed(self, revision: int, ops: Sequence[Op]) -> None:
        written: list[Written] = []
        for op in ops:
            if isinstance(op, Put):
                self.values[op.key] = op.value
                written.append((op.key, op.value))
            elif isinstance(op, Delete) and self.values.pop(op.key, None) is not None:
                del self.revisions[op.key]
                written.append((op.key, None))
        if not written:
            assert revision == self.revision
            return
        assert revision > self.revision
        for key, value in written:
            if value is not None:
                entry = self.run(self.store.get(key))
                assert entry is not None
                assert self.revision < entry.revision <= revision
                self.revisions[key] = entry.revision
        self.commits.append((revision, written))
        self.revision = revision

    @rule(key=st.sampled_from([*KEYS, "nobody"]))
    def get(self, key: str) -> None:
        entry = self.run(self.store.get(key))
        found = (entry.key, entry.value, entry.revision) if entry else None
        assert found == ((key, self.values[key], self.revisions[key]) if key in self.values else None)

    @rule(prefix=st.sampled_from(PREFIXES))
    def snapshot(self, prefix: str) -> None:
        snapshot = self.run(self.store.snapshot(prefix))
        assert snapshot.revision <= self.store.revision
        assert [(entry.key, entry.value, entry.revision) for entry in snapshot.entries] == [
            (key, self.values[key], self.revisions[key]) for key in sorted(self.values) if key.startswith(prefix)
        ]
        deleted = dict(snapshot.deleted)
        assert len(deleted) == len(snapshot.deleted)
        assert deleted.keys() == {
            key for key, (_, upto) in self._deletions().items() if upto > self.compacted and key.startswith(prefix)
        }
        for key, revision in deleted.items():
            before, upto = self._deletions()[key]
            assert before < revision <= upto

    def _deletions(self) -> dict[str, tuple[int, int]]:
        """The keys that were deleted and are not there, with the revisions of the commit before and of their own."""
        found: dict[str, tuple[int, int]] = {}
        before = 0
        for revision, written in self.commits:
            found |= {key: (before, revision) for key, value in written if value is None}
            before = revision
        return {key: where for key, where in found.items() if key not in self.values}

    @rule(prefix=st.sampled_from(PREFIXES), data=st.data())
    def watch(self, prefix: str, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(self.commits)), label="position")
        after = self.commits[position - 1][0] if position else 0
        feed = self.store.watch(prefix, after=after)
        if after < self.compacted:
            with pytest.raises(RevisionCompacted):
                self.run(anext(feed))
        else:
            self.watches.append(Watching(feed, prefix, position, after))

    @rule(ahead=st.integers(1, 1 << 70))
    def watch_ahead(self, ahead: int) -> None:
        with pytest.raises(RevisionAhead):
            self.run(anext(self.store.watch("", after=self.revision + SKIPPED + ahead)))

    @rule(data=st.data())
    def read_watch(self, data: st.DataObject) -> None:
        if self.watches:
            watching = data.draw(st.sampled_from(self.watches), label="watch")
            self._read(watching, data.draw(st.integers(1, 20), label="most"))

    def _read(self, watching: Watching, most: int) -> None:
        """Reads what the watch must yield next; a watch that the compaction has overtaken may say so instead."""
        while most and (following := self._following(watching)):
            revision, written = following
            try:
                commit = self.run(anext(watching.feed))
            except RevisionCompacted:
                assert watching.revision < self.compacted
                self.watches.remove(watching)
                return
            assert commit.revision == revision
            assert [(change.key, change.value) for change in commit.changes] == written
            assert all(watching.revision < change.revision <= revision for change in commit.changes)
            watching.revision = revision
            most -= 1

    def _following(self, watching: Watching) -> tuple[int, list[Written]] | None:
        """Moves the watch's position past the next commit below its prefix, and returns that."""
        while watching.position < len(self.commits):
            revision, written = self.commits[watching.position]
            watching.position += 1
            if below := [change for change in written if change[0].startswith(watching.prefix)]:
                return revision, below
        return None

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(0, self.revision), label="revision")
        self.run(self.store.compact(revision))
        self.compacted = max(self.compacted, revision)

    @rule()
    def sync(self) -> None:
        assert self.run(self.store.sync()) == self.revision

    @rule(ahead=st.integers(1, 1 << 70))
    def compact_ahead(self, ahead: int) -> None:
        with pytest.raises(RevisionAhead):
            self.run(self.store.compact(self.revision + ahead))

    @rule()
    def reopen(self) -> None:
        self.store = self.run(self.engine.reopen())
        # It may count what it skipped.
        assert self.revision <= self.store.revision <= self.revision + SKIPPED
        self.revision = self.store.revision
        for watching in self.watches:
            # It may still yield what it had, and then ends.
            with pytest.raises((StoreUnavailable, RevisionCompacted)):
                self._read_to_the_end(watching)
        self.watches.clear()

    def _read_to_the_end(self, watching: Watching) -> None:
        while True:
            commit = self.run(anext(watching.feed))
            following = self._following(watching)
            assert following is not None
            assert commit.revision == following[0]

    @invariant()
    def revisions_are_known(self) -> None:
        assert self.store.revision == self.revision
        assert self.store.compacted == self.compacted
        assert self.store.writable

    def finish(self) -> None:
        # Each open watch yields the rest, and then the next commit: nothing else is in between.
        ops = [Put("a/b/1", b"last"), Put("b/1", b"last"), Put("nobody/1", b"last")]
        self._committed(self.run(self.store.commit(ops)), ops)
        for watching in list(self.watches):
            self._read(watching, len(self.commits))
            self.run(watching.feed.aclose())


def test_state_is_what_was_committed(engine: Engine) -> None:
    check(StateMachine, engine, runs=40, steps=40)
