"""The queue of due probes: urgent ones first, so many at once and so many a second at most."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from sira_grpc.clock import Clock
from sira_grpc.registry.health_schedule import CallLater, Cancellable

_TICK = 0.005
"""Seconds between two batches of starts: a mass start never holds the event loop longer than one batch takes."""


class ProbeQueue:
    """Starts queued probes as slots and pace allow. A name is queued at most once, so the queue is bounded by them.

    Concurrency alone would not do: probes that answer fast need a low rate so that they leave the event loop alone,
    and probes that hang need many slots so that they do not hold up the others.

    Args:
        start: begins the probe of a name; must not raise. Each start is followed by one `finished`.
        max_concurrent: probes under way at once, at most.
        max_per_second: probes started in a second, at most, in batches every 5 ms.
    """

    def __init__(
        self,
        start: Callable[[str], None],
        *,
        clock: Clock,
        call_later: CallLater,
        max_concurrent: int,
        max_per_second: int,
    ) -> None:
        self._start = start
        self._clock = clock
        self._call_later = call_later
        self._free = max_concurrent
        self._batch = max(1, round(max_per_second * _TICK))
        self._normal: OrderedDict[str, None] = OrderedDict()
        self._urgent: OrderedDict[str, None] = OrderedDict()
        self._left = 0
        self._tick_end = clock.monotonic()
        self._timer: Cancellable | None = None

    def __len__(self) -> int:
        """Names that are queued."""
        return len(self._normal) + len(self._urgent)

    def add(self, name: str, *, urgent: bool = False) -> None:
        """Queues a name, or moves it to the urgent ones. Queued as it is already: no error."""
        if urgent:
            self._normal.pop(name, None)
            self._urgent[name] = None
        elif name not in self._urgent:
            self._normal[name] = None
        self._pump()

    def discard(self, name: str) -> None:
        """Takes a name out of the queue. An unknown one is no error."""
        self._normal.pop(name, None)
        self._urgent.pop(name, None)

    def finished(self) -> None:
        """Gives a slot back."""
        self._free += 1
        self._pump()

    def close(self) -> None:
        """Empties the queue."""
        self._normal.clear()
        self._urgent.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pump(self) -> None:
        if self._timer is not None:
            return
        now = self._clock.monotonic()
        if now >= self._tick_end:
            self._tick_end = now + _TICK
            self._left = self._batch
        while self._free > 0 and self._left > 0 and len(self):
            name, _ = (self._urgent or self._normal).popitem(last=False)
            self._free -= 1
            self._left -= 1
            self._start(name)
        if self._free > 0 and len(self):
            self._timer = self._call_later(self._tick_end - now, self._on_tick)

    def _on_tick(self) -> None:
        self._timer = None
        self._pump()
