"""The membership of this member: its record in the store, written again with every heartbeat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from sira.cluster.internal.v1.member_record_pb2 import MemberRecord
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.clock import Clock
from sira_grpc.cluster import names
from sira_grpc.cluster.view import ClusterView
from sira_grpc.commits import Commits
from sira_grpc.errors import SiraError
from sira_grpc.store.api import Delete, Op, Put, Store
from sira_grpc.times import NANOS, timestamp

log = logging.getLogger(__name__)

Pause = Callable[[float], Awaitable[object]]
"""Returns after so many seconds."""


class Membership:
    """Writes the record. On a store that nobody shares it is written once, and then only to see whether writes work.

    Args:
        record: what does not change: host, version and start time.
        interval: seconds from one heartbeat to the next.
        pause: waits.

    Attributes:
        beaten: called on the event loop when a heartbeat is back in the view.
        bus_namespaces, leases, client_kinds: say what the member serves, for its record.
    """

    def __init__(
        self,
        store: Store,
        view: ClusterView,
        commits: Commits,
        record: MemberRecord,
        *,
        member: str,
        interval: float,
        clock: Clock,
        pause: Pause,
    ) -> None:
        self._store = store
        self._view = view
        self._commits = commits
        self._record = record
        self._key = names.member_key(member)
        self._interval = interval
        self._clock = clock
        self._pause = pause
        self._writing = asyncio.Lock()
        self._failing = False
        self.beaten: list[Callable[[], None]] = []
        self.bus_namespaces: Callable[[], int] = int
        self.leases: Callable[[], int] = int
        self.client_kinds: Callable[[], Iterable[ClientKind.ValueType]] = tuple

    @property
    def record(self) -> MemberRecord:
        """The record as it was last written, or is being written."""
        return self._record

    async def run(self) -> None:
        """Writes a heartbeat again and again; cancelled by its owner."""
        wait = self._interval
        while True:
            await self._pause(wait)
            began = self._clock.monotonic()
            if self._store.shared or not self._store.writable:
                await self._try()
            # One that took long is followed by another one soon, but not at once.
            wait = max(self._interval / 10, self._interval - (self._clock.monotonic() - began))

    async def beat(self) -> None:
        """Writes the record, and returns once it is in the view.

        Raises:
            StoreUnavailable: it may, or may not, have been written.
        """
        async with self._writing:
            await self._beat()

    async def announce(self, addresses: Sequence[str]) -> None:
        """Writes where the member is reached: from here on it takes work. Raises: StoreUnavailable."""
        self._record.addresses[:] = addresses
        await self.beat()

    async def leave(self) -> None:
        """Writes that it stops. Raises: StoreUnavailable."""
        self._record.stopping = True
        await self.beat()

    async def remove(self) -> None:
        """Deletes the record. No heartbeat may follow. Raises: StoreUnavailable."""
        async with self._writing:
            await self._store.commit([Delete(self._key)])

    async def remove_earlier(self) -> None:
        """Deletes the records that earlier runs have left, where nobody shares the store. Raises: StoreUnavailable."""
        earlier: list[Op] = [Delete(names.member_key(member)) for member in self._view.members]
        for start in range(0, len(earlier), 100):
            await self._commits.write(earlier[start : start + 100])

    async def _try(self) -> None:
        try:
            await self.beat()
        except SiraError as error:
            if not self._failing:
                log.warning("a heartbeat did not go through; it is tried on: %s", error)
            self._failing = True
        else:
            self._failing = False

    async def _beat(self) -> None:
        record = self._record
        record.beat += 1
        record.heartbeat_time.CopyFrom(timestamp(self._clock.time_ns()))
        record.view_revision = self._view.revision
        record.bus_namespaces = self.bus_namespaces()
        record.leases = self.leases()
        record.client_kinds[:] = sorted(self.client_kinds())
        began = self._clock.monotonic()
        await self._commits.write([Put(self._key, record.SerializeToString())])
        record.view_lag_ns = round((self._clock.monotonic() - began) * NANOS)
        for hook in tuple(self.beaten):
            hook()
