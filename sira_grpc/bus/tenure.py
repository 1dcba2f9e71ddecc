"""One time that this member serves a namespace, and the store as it is used meanwhile: what is written is fenced.

Two members may believe for a moment that a namespace is theirs. Every append says which offset it must get, and every
commit that the namespace is still this member's: so what one of them does not know of makes its next write fail, and
with that its tenure is over. It may open the namespace anew, and then knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from sira_grpc.errors import Conflict, NotOwner, StoreUnavailable
from sira_grpc.store.api import Check, Entry, Frame, LogRange, LogStore, Op

RETRY_SECONDS = 0.1
"""After which it is worthwhile to ask again for a namespace that has another owner, or is about to."""


_EXECUTED = "executed"


def elsewhere(namespace: str, why: str) -> NotOwner:
    """Returns the error for a namespace that is not served here, or not any more: of a call that may be under way."""
    return NotOwner(f"{namespace}: {why}", metadata={"resource": namespace}, retry_after=RETRY_SECONDS)


def not_begun(namespace: str, why: str) -> NotOwner:
    """Returns the error for a namespace that is not served here: nothing of the call was done.

    It says so, and whoever forwards the call may make it again elsewhere. Once something was done, see under_way().
    """
    error = elsewhere(namespace, why)
    error.metadata[_EXECUTED] = "no"
    return error


def under_way(error: NotOwner) -> NotOwner:
    """Returns an error without what it says of the call, for one of which something was done before."""
    metadata = {key: value for key, value in error.metadata.items() if key != _EXECUTED}
    return NotOwner(error.message, metadata=metadata, retry_after=error.retry_after)


class Tenure:
    """From when a namespace was taken until it was let go of, or lost.

    Args:
        namespace: its name.
        guard: what a commit on its behalf must assert; None where the store is not shared.
        ended: called when it ends by itself, with the reason; must not block.

    Attributes:
        left: nothing new is begun on its behalf; what is under way may be finished.
        over: nothing more gets to the store, or is read from it.
    """

    def __init__(
        self, namespace: str, guard: Check | None = None, ended: Callable[[Tenure, str], None] | None = None
    ) -> None:
        self.namespace = namespace
        self.guard = guard
        self.left = asyncio.Event()
        self.over = False
        self._ended = ended
        self._why = ""

    @property
    def shared(self) -> bool:
        """Whether another member may have served the namespace until now, and go on for a moment."""
        return self.guard is not None

    def end(self, why: str) -> None:
        """Ends it at once and for good. Idempotent."""
        if self.over:
            return
        self.over, self._why = True, why
        self.left.set()
        if self._ended is not None:
            self._ended(self, why)

    def check(self) -> None:
        """Raises NotOwner if it is over."""
        if self.over:
            raise elsewhere(self.namespace, self._why)

    def check_begin(self) -> None:
        """Raises NotOwner if nothing new may be begun: for who has not begun."""
        if self.left.is_set():
            raise not_begun(self.namespace, self._why or "it is being handed over")

    def failed(self, error: StoreUnavailable) -> None:
        """Ends it if a write has failed that may have been done, or may be yet: what is known here may be wrong."""
        if self.shared and error.metadata.get("outcome") != "none":
            self.end("what has become of a write is not known; it is opened anew")


class Tenures(Protocol):
    """The tenures of the namespaces that this member serves."""

    def __call__(self, namespace: str, *, patient: bool = True) -> Awaitable[Tenure]:
        """Returns the tenure of a namespace, which is taken if it is not.

        Args:
            namespace: its name.
            patient: wait until an earlier tenure has been wound up. Whoever that waits for must not be.

        Raises:
            NotOwner: it is another member's.
            StoreUnavailable: it cannot be taken now.
        """


class FencedLogs:
    """The logs of a namespace for one tenure. Implements LogStore.

    The tenure ends with the first append that meets another's, or whose outcome is not known. Appends without an
    expected offset are fenced by nothing, and there are none.

    Trims need no fence: they take away only what whoever trims knows to be of no use, and frames that come later have
    higher offsets. A partition is deleted only once what it belongs to is gone.
    """

    def __init__(self, logs: LogStore, tenure: Tenure) -> None:
        self._logs = logs
        self._tenure = tenure

    async def append(self, partition: str, frames: Sequence[bytes], *, expected: int | None = None) -> int:
        """See LogStore.

        Raises:
            NotOwner: the tenure is over, maybe because of this. Nothing was appended.
        """
        self._tenure.check()
        try:
            return await self._logs.append(partition, frames, expected=expected)
        except Conflict as conflict:
            self._tenure.end("another member has taken it over, or it has to be opened anew")
            raise elsewhere(self._tenure.namespace, conflict.message) from conflict
        except StoreUnavailable as error:
            self._tenure.failed(error)
            raise

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        """See LogStore. Raises: NotOwner."""
        self._tenure.check()
        return await self._logs.read(partition, offset, max_frames=max_frames, max_bytes=max_bytes)

    async def range(self, partition: str) -> LogRange:
        """See LogStore. Raises: NotOwner."""
        self._tenure.check()
        return await self._logs.range(partition)

    async def offset_at(self, partition: str, time_ns: int) -> int:
        """See LogStore. Raises: NotOwner."""
        self._tenure.check()
        return await self._logs.offset_at(partition, time_ns)

    async def trim(self, partition: str, before: int) -> None:
        """See LogStore. Raises: NotOwner."""
        self._tenure.check()
        await self._logs.trim(partition, before)

    async def delete_partition(self, partition: str) -> None:
        """See LogStore. Raises: NotOwner."""
        self._tenure.check()
        await self._logs.delete_partition(partition)


class Records(Protocol):
    """What the state of the store says of a namespace's partitions."""

    async def get(self, key: str) -> Entry | None:
        """See StateStore."""

    async def commit(self, ops: Sequence[Op]) -> int:
        """See StateStore."""


class FencedRecords:
    """The state of the store for one tenure: what is committed counts only while the namespace is this member's."""

    def __init__(self, store: Records, tenure: Tenure) -> None:
        self._store = store
        self._tenure = tenure

    async def get(self, key: str) -> Entry | None:
        """See StateStore. Raises: NotOwner."""
        self._tenure.check()
        return await self._store.get(key)

    async def commit(self, ops: Sequence[Op]) -> int:
        """See StateStore.

        Raises:
            NotOwner: the tenure is over, maybe because of this. Nothing was changed.
        """
        guard = self._tenure.guard
        return await self._commit(ops if guard is None else [*ops, guard])

    async def confirm(self) -> None:
        """Asks the store whether the namespace is still this member's.

        Raises:
            NotOwner: it is not.
            StoreUnavailable: it cannot be asked now.
        """
        if self._tenure.guard is not None:
            await self._commit([self._tenure.guard])

    async def _commit(self, ops: Sequence[Op]) -> int:
        self._tenure.check()
        guard = self._tenure.guard
        try:
            return await self._store.commit(ops)
        except Conflict as conflict:
            if guard is None or conflict.metadata.get("key") != guard.key:
                raise
            self._tenure.end("another member has taken it over")
            raise elsewhere(self._tenure.namespace, conflict.message) from conflict
        except StoreUnavailable as error:
            self._tenure.failed(error)
            raise
