"""The Store protocol: state with one revision, logs and blobs, as every engine provides them.

The model of the state is etcd's. It is shaped so that an embedded database and a replicated stream can both provide it:

- Keys are 1 to 8 segments of `[A-Za-z0-9_-]{1,64}` joined by `/`, so that a segment can be a subject token.
- Every commit has one revision, larger than that of every commit before it; revisions may skip numbers. Each entry has
  a revision too, which is at most that of the commit that wrote it and larger than that of every earlier commit: an
  engine may number the keys of a commit one by one. What the last Put of a commit leaves has the commit's revision, if
  no Delete follows it.
- A commit is applied whole or not at all, and is seen by a watch whole.
- A snapshot is at least as new as its revision. An engine may let it hold entries that are newer still: whoever feeds
  a view from a snapshot and then a watch ignores a change whose revision is not above what it has for that key.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_OPS = 1000
"""Operations in one commit, or frames in one append, at most."""
MAX_VALUE_BYTES = 1 << 20
"""Size of one value, at most."""
MAX_FRAME_BYTES = 4 << 20
"""Size of one log frame, at most."""
MAX_COMMIT_BYTES = 16 << 20
"""Size of the keys and values of one commit, or of the frames of one append, at most."""
BLOB_CHUNK_BYTES = 128 << 10
"""Size of the chunks that blobs are stored and read in."""
ABSENT = 0
"""The expected revision of a key that must not be there."""


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key.

    expected: the entry's revision that must be there, ABSENT for none, None for "whatever is there".
    """

    key: str
    value: bytes
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key. Deleting what is not there is no error unless expected says otherwise; expected as in Put."""

    key: str
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Assert that a key is as expected, and write nothing: the commit it is part of is applied only if it is.

    expected: the entry's revision that must be there, ABSENT for none.
    """

    key: str
    expected: int


Op = Put | Delete | Check


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it is: its value and the revision that wrote it."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """A key as a commit left it: value None means deleted."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The changes of one commit below the watched prefix, in the order of its operations. A Check is no change."""

    revision: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All entries below a prefix, ordered by key, at least as new as revision.

    deleted: the keys below the prefix that are not there, but were deleted after what is compacted, each with the
    revision of the deletion: so that a view knows what it must tell a reader who resumes.
    """

    revision: int
    entries: tuple[Entry, ...]
    deleted: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a log partition: its offset and when it was appended, in Unix nanoseconds.

    Within a partition the times never go back from one frame to the next, whatever the clock does.
    """

    offset: int
    time_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LogRange:
    """The offsets that a partition holds: first (inclusive) to next (exclusive). Equal when it is empty."""

    first: int
    next: int


class StateStore(Protocol):
    """Keys and values under one revision."""

    @property
    def revision(self) -> int:
        """The newest revision this member knows to be durable. 0 for an empty store."""

    async def commit(self, ops: Sequence[Op]) -> int:
        """Applies the operations atomically and durably and returns the commit's revision.

        A commit that would change nothing (only checks, and deletes of absent keys) returns the current revision, if
        what it expects is so.

        Raises:
            Conflict: an expected revision is not what is there; metadata has `key`. Nothing was changed.
            ValueError: no operation, too many, one key twice, a malformed key or expected revision, a value that is
                too large, or too many bytes together.
            StoreUnavailable: the store cannot write. Metadata has `outcome`: "none" where nothing was changed, and
                nothing will be; "unknown" where the commit was sent to a store that is shared, and no answer came: it
                has been applied, whole and once, or may yet be until another commit writes one of its keys, or never
                is. What became of it shows in the entries. An engine that is not shared always knows: "none".
        A caller that is cancelled while it waits does not know whether the commit was applied.
        """

    async def get(self, key: str) -> Entry | None:
        """Reads a key; None if it is not there. Sees every commit that was acknowledged to this member.

        Raises:
            ValueError: the key is malformed.
            StoreCorrupt: the entry is not what was written.
        """

    async def sync(self) -> int:
        """Returns a revision that contains every commit that was acknowledged to any member before the call.

        This member has it then: a watch yields what leads to it, a snapshot contains it. Whoever is about to refuse
        something because of what a view says asks first, as the view may be behind what another member has written.

        Raises:
            StoreUnavailable: the store does not answer.
        """

    async def snapshot(self, prefix: str) -> Snapshot:
        """Reads every entry whose key begins with prefix (`""` for all; otherwise it ends in `/`).

        A watch may start after the snapshot's revision at once: `revision` is at least that when this returns.

        Raises:
            ValueError: the prefix is malformed.
            StoreCorrupt: an entry is not what was written.
        """

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Commit, None]:
        """Yields every commit with a revision above `after` that touches the prefix, in order, none twice, for ever.

        The caller closes it with aclose(). A slow reader costs no memory: it reads on from the history.

        Raises, from the iteration:
            RevisionCompacted: part of what follows `after` has been compacted away.
            RevisionAhead: `after` is above the store's revision. An engine may overlook that for a number that it
                skipped.
            StoreUnavailable: the store was closed or lost.
            ValueError: the prefix is malformed, or `after` is negative.
        """

    async def compact(self, revision: int) -> None:
        """Forgets the history up to and including revision; the state itself stays. Going back is no error.

        An engine may also compact by itself, to bound the history.

        Raises:
            RevisionAhead: revision is above the store's.
        """

    @property
    def compacted(self) -> int:
        """The revision up to which the history has been forgotten: a watch may start after it."""


class LogStore(Protocol):
    """Append-only partitions of frames. A partition is there from its first append on; names are keys."""

    async def append(self, partition: str, frames: Sequence[bytes], *, expected: int | None = None) -> int:
        """Appends frames, atomically and durably, and returns the offset of the first. Offsets are consecutive.

        Args:
            partition: its name.
            frames: what to append.
            expected: the offset that the first frame must get: so one who is not alone in appending, and does not know
                it, appends nothing. None for "whatever is next".

        Raises:
            Conflict: another offset is next; metadata has `partition`, `expected` and `next`. Nothing was appended.
            ValueError: no frame, too many, a malformed name or expected offset, a frame that is too large, or too many
                bytes together.
            StoreUnavailable: the store cannot write. Metadata has `outcome`, as for a commit: where it is "unknown",
                the frames are there, whole and once, or may yet be until another append is acknowledged, or never are.
        """

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        """Reads frames from offset on, in order: at least one if there is any, within both limits otherwise.

        It may stop short of the limits: only an empty answer means the end, or a partition that is unknown. An offset
        below the first that is held reads from the first.

        Raises:
            ValueError: a malformed name, or max_frames under 1.
            StoreCorrupt: a frame is not what was appended.
        """

    async def range(self, partition: str) -> LogRange:
        """Returns the offsets held. (0, 0) for an unknown partition. `next` never goes back, even after a trim."""

    async def offset_at(self, partition: str, time_ns: int) -> int:
        """Returns the offset of the first frame appended at or after a time; `next` if there is none."""

    async def trim(self, partition: str, before: int) -> None:
        """Forgets every frame below an offset. Offsets of the others stay. Going back is no error."""

    async def delete_partition(self, partition: str) -> None:
        """Forgets a partition and its offsets. An unknown one is no error."""


class BlobStore(Protocol):
    """Content-addressed bytes."""

    async def put_blob(self, chunks: AsyncIterator[bytes]) -> str:
        """Stores the bytes durably and returns their SHA-256 as 64 hex digits. Storing them again is no error."""

    def get_blob(self, digest: str) -> AsyncGenerator[bytes, None]:
        """Yields the bytes in chunks, verified against the digest as they are read.

        Raises, from the iteration:
            KeyError: there is no such blob.
            StoreCorrupt: the bytes are not those that were stored.
        """

    async def has_blob(self, digest: str) -> bool:
        """Says whether a blob is there, whole."""

    async def delete_blob(self, digest: str) -> None:
        """Forgets a blob. An unknown one is no error."""


class Store(StateStore, LogStore, BlobStore, Protocol):
    """All three, on one engine."""

    @property
    def engine(self) -> str:
        """Name of the engine, such as `sqlite`."""

    @property
    def shared(self) -> bool:
        """Whether other members may be on the same store."""

    @property
    def writable(self) -> bool:
        """Whether the last write went through, or none has been tried."""

    @property
    def available(self) -> bool:
        """Whether the store can be reached. Reads of the state go on without it, from what this member has."""

    async def close(self) -> None:
        """Finishes what is under way, ends the watches with StoreUnavailable, and lets go of everything. Idempotent."""
