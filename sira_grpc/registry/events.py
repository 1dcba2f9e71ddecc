"""The last changes of the registry with their causes: kept in memory, and in a log partition across restarts."""

from __future__ import annotations

import asyncio
import logging
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
        self._events: deque[tuple[int, Event]] = deque(maxlen=limit)  # with a number that only grows
        self._next = 1
        self._unwritten: deque[Event] = deque(maxlen=limit)
        self._wake = asyncio.Event()

    async def load(self) -> None:
        """Reads what an earlier run has left."""
        held = await self._store.range(PARTITION)
        offset = held.first
        while offset < held.next:
            frames = await self._store.read(PARTITION, offset, max_frames=100, max_bytes=READ_BYTES)
            if not frames:
                break
            for frame in frames:
                for event in ListEventsResponse.FromString(frame.data).events:
                    self._keep(event)
            offset = frames[-1].offset + 1

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
        self._events.append((self._next, event))
        self._next += 1

    def latest(self, *, below: int, resource: str) -> Iterator[tuple[int, Event]]:
        """Yields events with their numbers, the newest first: those under a number (0 for all) and of a resource."""
        for number, event in reversed(self._events):
            if below and number >= below:
                continue
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
                if offset % 256 == 0:
                    await self._store.trim(PARTITION, max(0, offset - self._limit))
            except StoreUnavailable:
                log.warning("%d events are not in the log: the store cannot write", len(taken))
                return
