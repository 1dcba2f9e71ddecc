"""A schedule of many names on one timer: each name is due at one time, which may be moved or cancelled."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Protocol

from sira_grpc.clock import Clock

_MIN_DELAY = 0.001
"""Seconds. Event loops round timers to milliseconds and may fire a little early: a shorter delay would spin."""
_SLACK = 64
"""Entries that the heap may hold beyond twice the live ones before it is rebuilt."""


class Cancellable(Protocol):
    """A timer that was set."""

    def cancel(self) -> None:
        """Keeps it from firing. Of no effect when it has."""


CallLater = Callable[[float, Callable[[], None]], Cancellable]
"""Calls a function after so many seconds, from the event loop."""


def loop_call_later(delay: float, callback: Callable[[], None]) -> Cancellable:
    """The running event loop's own timer."""
    return asyncio.get_running_loop().call_later(delay, callback)


class _Entry:
    __slots__ = ("due", "name", "placed", "seq")

    def __init__(self, name: str, due: float, seq: int) -> None:
        self.name = name
        self.due = due
        self.placed = due
        """The time it is in the heap with: `due` may have been moved later since."""
        self.seq = seq

    def __lt__(self, other: _Entry) -> bool:
        return (self.placed, self.seq) < (other.placed, other.seq)


class Schedule:
    """Calls `fire(name)` when a name is due, each once, in the order of their times.

    A binary heap with lazy deletion: moving a name later, which is what every heartbeat does, costs a dict lookup.

    Args:
        fire: called from the event loop; must not raise. It may call the schedule.
    """

    def __init__(self, fire: Callable[[str], None], *, clock: Clock, call_later: CallLater) -> None:
        self._fire = fire
        self._clock = clock
        self._call_later = call_later
        self._entries: dict[str, _Entry] = {}
        self._heap: list[_Entry] = []
        self._seq = 0
        self._timer: Cancellable | None = None
        self._armed = 0.0

    def __len__(self) -> int:
        """Names that are due some time."""
        return len(self._entries)

    @property
    def placed(self) -> int:
        """Entries in the heap, those of cancelled and moved names included: at most a constant times its length."""
        return len(self._heap)

    def at(self, name: str, due: float) -> None:
        """Makes a name due at a time on the monotonic clock, in place of the time it had. The past means now."""
        entry = self._entries.get(name)
        if entry is not None and due >= entry.placed:
            entry.due = due
            return
        self._seq += 1
        entry = _Entry(name, due, self._seq)
        self._entries[name] = entry
        heapq.heappush(self._heap, entry)
        self._rebuild_if_stale()
        self._arm()

    def cancel(self, name: str) -> None:
        """Forgets a name. An unknown one is no error."""
        if self._entries.pop(name, None) is not None:
            self._rebuild_if_stale()

    def close(self) -> None:
        """Forgets every name."""
        self._entries.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rebuild_if_stale(self) -> None:
        """Keeps the heap within a constant factor of the live names, however often they come and go."""
        if len(self._heap) > 2 * len(self._entries) + _SLACK:
            self._heap = [entry for entry in self._heap if self._entries.get(entry.name) is entry]
            heapq.heapify(self._heap)

    def _arm(self) -> None:
        if not self._heap:
            return
        due = self._heap[0].placed
        if self._timer is not None:
            if self._armed <= due:
                return
            self._timer.cancel()
        self._armed = due
        self._timer = self._call_later(max(due - self._clock.monotonic(), _MIN_DELAY), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._heap and self._heap[0].placed <= now:
            entry = heapq.heappop(self._heap)
            if self._entries.get(entry.name) is not entry:
                continue
            if entry.due > now:
                entry.placed = entry.due
                heapq.heappush(self._heap, entry)
                continue
            del self._entries[entry.name]
            self._fire(entry.name)
        self._arm()
