"""Tells whether a history of concurrent operations is linearizable.

The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of the
configurations that have been tried ("Testing for linearizability", 2017). An object is judged by itself: a history is
linearizable if and only if that of each object is (Herlihy and Wing, 1990).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tests.faults.history import Operation

S = TypeVar("S", bound=Hashable)


class Model(Protocol[S]):
    """What an object does when operations come one after the other."""

    @property
    def initial(self) -> S:
        """Its state at first."""

    def step(self, state: S, operation: Operation) -> S | None:
        """Returns the state after an operation; None if it cannot have had its result in this state.

        One whose outcome is unknown may have had any.
        """


@dataclass(eq=False, slots=True)
class _Event:
    """The beginning of an operation, or its end. Events are linked in the order of time."""

    number: int
    begins: bool
    before: _Event | None = None
    after: _Event | None = None

    def unlink(self) -> None:
        assert self.before is not None, "only the head has nothing before it"
        self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def relink(self) -> None:
        assert self.before is not None, "only the head has nothing before it"
        self.before.after = self
        if self.after is not None:
            self.after.before = self


def linearization(history: Sequence[Operation], model: Model[S]) -> list[Operation] | None:
    """Returns an order of the operations that explains their results and keeps that of real time; None if none does.

    Operations whose outcome is unknown are in it only where they are needed.
    """
    head, ends = _linked(history)
    state, chosen = model.initial, 0
    left = sum(operation.returned is not None for operation in history)
    tried: set[tuple[int, S]] = {(0, state)}
    path: list[tuple[_Event, S, bool]] = []
    event = head.after
    while left:
        if event is not None and event.begins:
            after = model.step(state, history[event.number])
            idle = after == state
            if after is None or (idle and event.number not in ends):
                event = event.after
                continue
            taken = chosen | 1 << event.number
            if (taken, after) in tried:
                event = event.after
                continue
            tried.add((taken, after))
            # One that changes nothing may as well be now as later: there is no choice to come back to.
            path.append((event, state, idle))
            chosen, state = taken, after
            left -= _take(event, ends)
            event = head.after
            continue
        # An operation has ended that is not in the order yet, or nothing is left to try: back to the last choice.
        idle = True
        while idle:
            if not path:
                return None
            event, state, idle = path.pop()
            chosen ^= 1 << event.number
            left += _give_back(event, ends)
        event = event.after if event is not None else None
    return [history[event.number] for event, _, _ in path]


def _linked(history: Sequence[Operation]) -> tuple[_Event, dict[int, _Event]]:
    """Returns the head of the linked events, and the ends of the operations that have one, by number."""
    events = [(operation.invoked, 0, number) for number, operation in enumerate(history)]
    # At one moment, beginnings come first: what cannot be told apart counts as concurrent.
    events += [(end.returned, 1, number) for number, end in enumerate(history) if end.returned is not None]
    head = last = _Event(-1, begins=False)
    ends: dict[int, _Event] = {}
    for _, ends_here, number in sorted(events):
        event = _Event(number, begins=not ends_here, before=last)
        last.after = last = event
        if ends_here:
            ends[number] = event
    return head, ends


def _take(event: _Event, ends: dict[int, _Event]) -> int:
    """Takes an operation out of the events, and returns how many with an end that was: 0 or 1."""
    event.unlink()
    end = ends.get(event.number)
    if end is None:
        return 0
    end.unlink()
    return 1


def _give_back(event: _Event, ends: dict[int, _Event]) -> int:
    """Undoes the last _take that was not undone."""
    end = ends.get(event.number)
    if end is not None:
        end.relink()
    event.relink()
    return int(end is not None)


def first_contradiction(history: Sequence[Operation], model: Model[S]) -> list[Operation]:
    """Returns the operations of the shortest beginning of a history that is not linearizable; none if it is.

    A beginning is what had ended by some time, with what was under way then as unknown.
    """
    if linearization(history, model) is not None:
        return []
    ends = sorted(operation.returned for operation in history if operation.returned is not None)
    low, high = 0, len(ends) - 1
    while low < high:  # beginnings of one that is linearizable are too
        middle = (low + high) // 2
        if linearization(_until(history, ends[middle]), model) is None:
            high = middle
        else:
            low = middle + 1
    return sorted(_until(history, ends[low]), key=lambda operation: operation.invoked)


def _until(history: Sequence[Operation], end: float) -> list[Operation]:
    return [
        operation
        if operation.returned is not None and operation.returned <= end
        else Operation(operation.call, None, operation.invoked, None)
        for operation in history
        if operation.invoked <= end
    ]
