"""The last changes of the registry with their causes: kept in memory, and in a log partition across restarts.

All members append to the one partition, and read there what the others have appended.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator

from sira.registry.v1.event_pb2 import Event, EventType
from sira.registry.v1.resolver_service_pb2 import ListEventsResponse

from sira_grpc.clock import Clock
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.api import LogStore
from sira_grpc.times import timestamp

PARTITION = "registry/events"
FRAME_EVENTS = 1000
READ_BYTES = 4 << 20
READ_FRAMES = 100
REFRESH_SECONDS = 1.0
"""How long a reader waits for what others have appended, at most."""
KEPT_FRAMES = 256
"""Frames that the log holds beyond those that are wanted, at most."""
SAME_TIME = 1 << 20
"""Events at one nanosecond that have numbers of their own, at most."""

log = logging.getLogger(__name__)


class EventLog:
    """A bounded list of events.

    Recording never waits: what is not yet in the log when the kernel is killed is lost, as no caller was promised it.

    Args:
        store: the log that keeps them across restarts.
        clock: dates them.
        limit: how many are kept.
    """

    def __init__(self, store: LogStore, clock: Clock, *, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._events: list[tuple[int, Event]] = []  # by number, which is made from the time: alike on all members
        self._offset = 0  # of the next frame to read
        self._reading = asyncio.Lock()
        self._unwritten: deque[Event] = deque(maxlen=limit)
        self._wake = asyncio.Event()

    async def load(self) -> None:
        """Reads what an earlier run, or other members, have left."""
        await self._read_on(first=True)

    async def refresh(self) -> None:
        """Reads on in the log, to have what other members have appended. A store that cannot be read adds nothing."""
        try:
            async with asyncio.timeout(REFRESH_SECONDS), self._reading:
                await self._read_on(first=False)
        except (TimeoutError, StoreUnavailable):
            log.warning("the events of other members are not there: the store cannot be read", exc_info=True)

    async def _read_on(self, *, first: bool) -> None:
        held = await self._store.range(PARTITION)
        self._offset = max(self._offset, held.first, held.next - self._limit - KEPT_FRAMES)
        while self._offset < held.next:
            frames = await self._store.read(PARTITION, self._offset, max_frames=READ_FRAMES, max_bytes=READ_BYTES)
            if not frames:
                break
            for frame in frames:
                for event in ListEventsResponse.FromString(frame.data).events:
                    if first or not self._has(event):  # what this member appended is there too
                        self._keep(event)
            self._offset = frames[-1].offset + 1

    def record(
        self, kind: EventType.ValueType, resource: str, cause: str, *, revision: int = 0, actor: str = ""
    ) -> None:
        """Notes an event that happens now."""
        now = timestamp(self._clock.time_ns())
        event = Event(time=now, type=kind, resource=resource, cause=cause, revision=revision, actor=actor)
        self._keep(event)
        self._unwritten.append(event)
        self._wake.set()

    def _keep(self, event: Event) -> None:
        begin = event.time.ToNanoseconds() * SAME_TIME
        at = bisect_left(self._events, begin + SAME_TIME, key=_number)
        number = max(begin, self._events[at - 1][0] + 1) if at else begin
        self._events.insert(at, (number, event))
        if len(self._events) > self._limit:
            del self._events[0]

    def _has(self, event: Event) -> bool:
        begin = event.time.ToNanoseconds() * SAME_TIME
        at = bisect_left(self._events, begin, key=_number)
        while at < len(self._events) and self._events[at][0] < begin + SAME_TIME:
            if self._events[at][1] == event:
                return True
            at += 1
        return False

    def latest(self, *, below: int, resource: str) -> Iterator[tuple[int, Event]]:
        """Yields events with their numbers, the newest first: those under a number (0 for all) and of a resource."""
        events = self._events
        end = bisect_left(events, below, key=_number) if below else len(events)
        for number, event in reversed(events[:end]):
            if not resource or event.resource == resource or event.resource.startswith(resource + "/"):
                yield number, event

    async def run(self) -> None:
        """Writes events to the log as they come; cancelled by its owner."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Writes what is unwritten. A store that cannot write loses events, never calls."""
        while self._unwritten:
            taken = [self._unwritten.popleft() for _ in range(min(FRAME_EVENTS, len(self._unwritten)))]
            frame = ListEventsResponse(events=taken).SerializeToString()
            try:
                offset = await self._store.append(PARTITION, [frame])
                # Frames may be small: keeping as many frames as events keeps at least the events wanted.
                if offset % KEPT_FRAMES == 0:
                    await self._store.trim(PARTITION, max(0, offset - self._limit))
            except StoreUnavailable:
                log.warning("%d events are not in the log: the store cannot write", len(taken))
                return


def _number(item: tuple[int, Event]) -> int:
    return item[0]
