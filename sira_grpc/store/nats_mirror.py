"""The state as this member knows it: every entry in memory, as of a sequence of the state's stream."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sira_grpc.store.api import ABSENT, Commit, Entry, Snapshot
from sira_grpc.store.nats_assembly import Assembly, Part, commit_of
from sira_grpc.store.nats_envelope import Kind, decode_state
from sira_grpc.store.nats_errors import Lost, corrupt
from sira_grpc.store.nats_names import Names


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the history has been compacted.

    Attributes:
        compacted: the revision up to which it is forgotten.
        floor: the last sequence of the last commit up to there: up to it, messages may be gone from the stream.
        purged: the sequence up to which no deletion is in the stream any more; at most floor.
        sequence: of the message that says so, 0 for none.
    """

    compacted: int = 0
    floor: int = 0
    purged: int = 0
    sequence: int = 0

    def encode(self) -> bytes:
        """Returns the value of the message."""
        return json.dumps({"compacted": self.compacted, "floor": self.floor, "purged": self.purged}).encode()

    @staticmethod
    def decode(value: bytes, sequence: int) -> Mark:
        """Returns what encode() was called on, in the message at a sequence."""
        said = json.loads(value)
        return Mark(int(said["compacted"]), int(said["floor"]), int(said["purged"]), sequence)


@dataclass(slots=True, eq=False)
class Tracked:
    """A commit under way: the sequence of its last message once the mirror has met it."""

    applied: int = 0


@dataclass(slots=True)
class _Image:
    """The entries, and the deletions that the stream still holds or may hold."""

    entries: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    mark: Mark = Mark()

    def apply(self, part: Part) -> None:
        """Leaves the entries as a message does."""
        key, sequence, message = part.key, part.sequence, part.message
        if message.kind is Kind.PUT:
            self.entries[key] = (message.value, sequence)
            self.deleted.pop(key, None)
        elif message.kind is Kind.DELETE:
            self.entries.pop(key, None)
            self.deleted[key] = sequence
        elif message.kind is Kind.MARK:
            self.mark = Mark.decode(message.value, sequence)
            self.deleted = {key: at for key, at in self.deleted.items() if at > self.mark.purged}
            return
        else:
            return
        self.damaged.pop(key, None)


class Mirror:
    """Used in the event loop alone.

    Attributes:
        position: everything up to this sequence is in it. Internal messages count too.
        revision: of the last commit; what was loaded counts as one.
        committed: called with each commit, once it is applied.
        reloaded: called when everything was loaded anew.
    """

    def __init__(self, names: Names) -> None:
        self.position = 0
        self.revision = 0
        self.loaded = asyncio.Event()
        self.committed: Callable[[Commit], None] = lambda commit: None
        self.reloaded: Callable[[], None] = lambda: None
        self._names = names
        self._image = _Image()
        self._loading: _Image | None = None
        self._assembly = Assembly()
        self._tracked: dict[bytes, Tracked] = {}
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    @property
    def mark(self) -> Mark:
        """How far the history has been compacted."""
        return self._image.mark

    def revision_of(self, key: str) -> int:
        """Returns the entry's revision, ABSENT if there is none."""
        found = self._image.entries.get(key)
        return found[1] if found else self._image.damaged.get(key, ABSENT)

    def last_sequence(self, key: str) -> int:
        """Returns the last sequence of the key's subject, be it a deletion; 0 for none that is known."""
        return self.revision_of(key) or self._image.deleted.get(key, 0)

    def forget_deletion(self, key: str) -> None:
        """Notes that the stream does not hold the key's deletion any more."""
        if self._image.deleted.get(key, 0) <= self.mark.floor:
            self._image.deleted.pop(key, None)

    def deletions(self) -> Iterable[tuple[str, int]]:
        """The keys whose last message is a deletion, as far as is known, with its sequence."""
        return self._image.deleted.items()

    @property
    def keys(self) -> int:
        """How many entries there are."""
        return len(self._image.entries)

    def get(self, key: str) -> Entry | None:
        """See StateStore."""
        if key in self._image.damaged:
            raise corrupt(f"the entry {key}")
        found = self._image.entries.get(key)
        return Entry(key, *found) if found else None

    def snapshot(self, prefix: str) -> Snapshot:
        """See StateStore."""
        image = self._image
        for key in image.damaged:
            if key.startswith(prefix):
                raise corrupt(f"the entry {key}")
        keys = sorted(key for key in image.entries if key.startswith(prefix))
        deleted = tuple(
            (key, at) for key, at in image.deleted.items() if at > image.mark.floor and key.startswith(prefix)
        )
        return Snapshot(self.revision, tuple(Entry(key, *image.entries[key]) for key in keys), deleted)

    def track(self, commit_id: bytes) -> Tracked:
        """Watches out for a commit, until untrack()."""
        return self._tracked.setdefault(commit_id, Tracked())

    def untrack(self, commit_id: bytes) -> None:
        """Forgets about a commit."""
        self._tracked.pop(commit_id, None)

    async def reached(self, position: int, within: float) -> None:
        """Returns once everything up to a position is in it.

        Raises:
            Lost: it is not within so many seconds.
        """
        if self.position >= position and self.loaded.is_set():
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._count += 1
        heapq.heappush(self._waiting, (position, self._count, future))
        timer = loop.call_later(within, _give_up, future, position)
        try:
            await future
        finally:
            timer.cancel()

    def fail(self, error: Callable[[], Exception]) -> None:
        """Raises an error in everyone who waits."""
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(error())
        self._waiting.clear()

    def decode(self, sequence: int, subject: str, payload: bytes) -> Part:
        """Returns what a message says.

        Raises:
            Damaged: it is not what was written.
        """
        return Part(sequence, self._names.key(subject), decode_state(subject, payload))

    def damage(self, sequence: int, subject: str) -> None:
        """Notes, while loading, an entry that no replica has as it was written.

        Raises:
            StoreCorrupt: it is no entry, but something that nothing can be read without.
        """
        key = self._names.key(subject)
        if self._loading is None or subject == self._names.mark:
            raise corrupt(f"the message {sequence} of {subject}")
        if key:
            self._loading.damaged[key] = sequence

    def begin_load(self) -> None:
        """Begins to load everything anew; what is there stays readable until that is done."""
        self._loading = _Image()
        self._assembly.clear()

    def load(self, part: Part) -> None:
        """Takes the last message of a subject."""
        assert self._loading is not None
        self._loading.apply(part)
        tracked = self._tracked.get(part.message.commit_id)
        if tracked is not None:
            tracked.applied = part.sequence + part.message.count - part.message.place

    def end_load(self, position: int) -> None:
        """Puts what was loaded in the place of what is there: it is everything up to a position."""
        assert self._loading is not None
        self._image, self._loading = self._loading, None
        self.revision = max(self.revision, position)
        self.loaded.set()
        self._moved(position)
        self.reloaded()

    def restart(self) -> None:
        """Forgets a commit that is not whole: its messages come again."""
        self._assembly.clear()

    def take(self, part: Part) -> None:
        """Takes the message after those that are there."""
        parts = self._assembly.add(part)
        if parts:
            self._apply(parts)

    def _apply(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self._image.apply(part)
        last = parts[-1]
        tracked = self._tracked.get(last.message.commit_id)
        if tracked is not None:
            tracked.applied = last.sequence
        commit = commit_of(parts)
        if commit is not None:
            self.revision = commit.revision
            self.committed(commit)
        self._moved(last.sequence)

    def _moved(self, position: int) -> None:
        self.position = max(self.position, position)
        while self._waiting and self._waiting[0][0] <= self.position:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)


def _give_up(future: asyncio.Future[None], position: int) -> None:
    if not future.done():
        future.set_exception(Lost(f"the messages up to {position} have not come", sent=True))
