"""What a caller process tells of its calls, as one line of JSON on its stdout."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """The calls since the report before.

    Attributes:
        answered: calls by who answered them.
        retried: answered calls that broke off at one greeter first and were sent to another.
        failed: calls that failed for good.
        errors: what the first of these failed with.
        millis: how long each answered call took, in milliseconds.
    """

    answered: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)
    millis: list[float] = field(default_factory=list)

    def to_line(self) -> str:
        """The line."""
        return json.dumps(vars(self))

    @classmethod
    def from_line(cls, line: str) -> Report:
        """Reads a line that to_line made."""
        data = json.loads(line)
        return cls(**{**data, "answered": Counter(data["answered"])})
