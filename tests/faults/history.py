"""What clients asked for, when, and what they were told: the history that is judged when all is over."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one client on one object.

    Attributes:
        call: what was asked for; a model knows what it means.
        result: what was answered; None of one whose outcome is unknown.
        invoked, returned: when, on one monotonic clock. `returned` is None of one whose outcome is unknown: it may take
            effect at any time after it was invoked, or never.
    """

    call: Any
    result: Any
    invoked: float
    returned: float | None


class History:
    """Operations by the object that they are on.

    Args:
        monotonic: the clock of all clients, seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self.by_object: defaultdict[str, list[Operation]] = defaultdict(list)
        self.counts: Counter[str] = Counter()

    def done(self, name: str, call: Any, result: Any, invoked: float) -> None:
        """Notes a call that was answered just now."""
        self.by_object[name].append(Operation(call, result, invoked, self.monotonic()))
        self.counts["answered"] += 1

    def unknown(self, name: str, call: Any, invoked: float) -> None:
        """Notes a call of which nobody knows what has become of it. One that surely did nothing is not noted."""
        self.by_object[name].append(Operation(call, None, invoked, None))
        self.counts["unknown"] += 1
