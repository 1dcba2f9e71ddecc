"""What the shop tells of its orders, as one line of JSON on its stdout."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass
class Sales:
    """The orders that were acknowledged since the report before.

    Attributes:
        acknowledged: their numbers.
        odd: those of them with a quantity that is written out.
        millis: how long each took from sending to its acknowledgement, in milliseconds.
        durabilities: what the acknowledgements said that the orders survive.
        failed: orders that were refused.
        errors: what the first of these were refused with.
    """

    acknowledged: list[int] = field(default_factory=list)
    odd: list[int] = field(default_factory=list)
    millis: list[float] = field(default_factory=list)
    durabilities: list[str] = field(default_factory=list)
    failed: int = 0
    errors: list[str] = field(default_factory=list)

    def to_line(self) -> str:
        """The line."""
        return json.dumps(vars(self))

    @classmethod
    def from_line(cls, line: str) -> Sales:
        """Reads a line that to_line made."""
        return cls(**json.loads(line))
