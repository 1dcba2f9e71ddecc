"""What a register with compare-and-set, and a lock with fencing tokens, do when operations come one by one."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.history import Operation

DONE = "done"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """Puts a value in the place of another. It is DONE, or REFUSED because another one is there. Values are unique."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Read:
    """Reads the value."""


class Register:
    """A value with compare-and-set.

    Args:
        initial: the value at first.
    """

    def __init__(self, initial: str) -> None:
        self.initial = initial

    def step(self, state: str, operation: Operation) -> str | None:
        """See Model."""
        call = operation.call
        if isinstance(call, Read):
            return state if operation.returned is None or operation.result == state else None
        assert isinstance(call, CompareAndSet)
        if operation.returned is not None and operation.result == REFUSED:
            return state if state != call.old else None
        return call.new if state == call.old else None


@dataclass(frozen=True, slots=True)
class Acquire:
    """Acquires the lock. The result is the fencing token."""


@dataclass(frozen=True, slots=True)
class Release:
    """Gives the lock back. What is gone already is DONE too."""

    token: int


@dataclass(frozen=True, slots=True)
class FencedWrite:
    """Writes under a token. It is DONE, or REFUSED because the token is stale."""

    token: int


@dataclass(frozen=True, slots=True)
class Held:
    """The token that was given out last, and whether its holder has the lock."""

    token: int
    held: bool


class FencedLock:
    """A lock whose holders may lose it at any time, as their time runs out, and whose tokens only grow.

    That nobody loses it too early is not this model's business: it knows no time.
    """

    initial = Held(0, held=False)

    def step(self, state: Held, operation: Operation) -> Held | None:
        """See Model. An acquisition whose token is unknown explains nothing that running out of time does not."""
        match operation.call:
            case Acquire():
                if operation.returned is None or operation.result <= state.token:
                    return None
                return Held(operation.result, held=True)
            case Release(token):
                return Held(token, held=False) if state.token == token else state
            case FencedWrite(token):
                if operation.returned is None:
                    return None
                if operation.result == REFUSED:
                    return Held(token, held=False) if state.token == token else state
                return state if state == Held(token, held=True) else None
        raise AssertionError(operation.call)
