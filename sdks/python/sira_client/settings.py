"""What a client does by default, and where its time and chance come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from sira_client.backoff import Backoff
from sira_client.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a client.

    Attributes:
        default_timeout: seconds that a unary call to the kernel may take where its caller does not say; also how long
            an answer on a stream is waited for. Default 15: longer than a cluster's store is without a leader after
            the one it had has died, and longer than a kernel waits for that.
        first_backoff: seconds before trying again for the first time, at most. Default 0.05.
        longest_backoff: seconds before trying again, at most. Default 2.
        random: where chance comes from.
        clock: where time comes from.
    """

    default_timeout: float = 15.0
    first_backoff: float = 0.05
    longest_backoff: float = 2.0
    random: Random = field(default_factory=Random)
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        """Refuses what makes no sense.

        Raises:
            ValueError: a time that is not above zero, or a first back-off above the longest.
        """
        for name in ("default_timeout", "first_backoff", "longest_backoff"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be above 0 seconds")
        if self.first_backoff > self.longest_backoff:
            raise ValueError("first_backoff: must not be above longest_backoff")

    def backoff(self) -> Backoff:
        """A new back-off with these settings."""
        return Backoff(self.first_backoff, self.longest_backoff, self.random)
