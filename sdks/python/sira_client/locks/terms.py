"""The ranges of what a caller may ask for."""

from __future__ import annotations

LONGEST_TTL = 3600
LONGEST_WAIT = 86400
MOST_PERMITS = 1000


def check_ttl(ttl: float) -> int:
    """Returns a TTL in nanoseconds.

    Raises:
        ValueError: it is out of its range.
    """
    if not 1 <= ttl <= LONGEST_TTL:
        raise ValueError(f"ttl: must be 1 to {LONGEST_TTL} seconds")
    return round(ttl * 1e9)


def check_wait(wait: float | None) -> None:
    """Checks how long to wait.

    Raises:
        ValueError: it is out of its range.
    """
    if wait is not None and not 0 <= wait <= LONGEST_WAIT:
        raise ValueError(f"wait: must be 0 to {LONGEST_WAIT} seconds, or None")


def check_permits(capacity: int, permits: int) -> None:
    """Checks how many permits are wanted of how many.

    Raises:
        ValueError: they are out of their range.
    """
    if not 1 <= capacity <= MOST_PERMITS:
        raise ValueError(f"capacity: must be 1 to {MOST_PERMITS}")
    if not 1 <= permits <= capacity:
        raise ValueError("permits: must be 1 to the capacity")
