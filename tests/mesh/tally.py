"""What became of calls, as a client tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Tally:
    """Calls that were counted together; see clients/PROTOCOL.md.

    Attributes:
        codes: calls by status.
        by: calls that succeeded, by the id of the endpoint.
        slowest: seconds that the slowest call took.
        took: seconds in which they were made.
        details: different texts of errors.
        headers: different values of the header that was asked for.
    """

    codes: Mapping[str, int]
    by: Mapping[str, int]
    slowest: float
    took: float
    details: tuple[str, ...]
    headers: tuple[str, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Reads what a client tells."""
        seconds = told["slowest_ms"] / 1000, told["took_ms"] / 1000
        return cls(told["codes"], told["by"], *seconds, tuple(told["details"]), tuple(told["headers"]))

    @property
    def calls(self) -> int:
        """How many there were."""
        return sum(self.codes.values())

    @property
    def failed(self) -> dict[str, int]:
        """Those that failed, by status."""
        return {code: count for code, count in self.codes.items() if code != "OK"}

    @property
    def endpoints(self) -> set[str]:
        """Who has answered."""
        return set(self.by)

    def share(self, *endpoints: str) -> float:
        """The share of some endpoints in the calls that succeeded; 0 if none did."""
        return sum(self.by.get(each, 0) for each in endpoints) / max(1, sum(self.by.values()))

    def only(self, *endpoints: str) -> bool:
        """Whether all calls have succeeded, and each of these endpoints, and no other, has answered some."""
        return not self.failed and self.endpoints == set(endpoints)

    def fails_with(self, code: str) -> bool:
        """Whether every call has failed with a status."""
        return set(self.codes) == {code}

    def __str__(self) -> str:
        told = [f"{count} {code}" for code, count in sorted(self.codes.items())]
        told += [f"{count} by {endpoint}" for endpoint, count in sorted(self.by.items())]
        told += [f"slowest {self.slowest:.2f} s", *self.details, *self.headers]
        return "; ".join(told)
