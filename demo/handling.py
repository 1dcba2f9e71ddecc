"""What a picker tells of one order that it has in hand, as one line of JSON on its stdout."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Step = Literal["taken", "handled", "refused"]


@dataclass(frozen=True, slots=True)
class Handling:
    """A step.

    Attributes:
        step: it was taken in hand, was handled, or could not be.
        number, customer, nth: see Order.
        attempt: which delivery of the order it is, from 1.
        at: when, in seconds by the clock that all processes of the machine share.
        millis: how long after the order was published, in milliseconds.
        why: it could not be handled; otherwise empty.
    """

    step: Step
    number: int
    customer: str
    nth: int
    attempt: int
    at: float
    millis: float
    why: str = ""

    def to_line(self) -> str:
        """The line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Handling:
        """Reads a line that to_line made."""
        return cls(**json.loads(line))
