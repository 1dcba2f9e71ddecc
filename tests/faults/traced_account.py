"""An account of a subscription that tells, with each violation, what has happened to the records of that key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from tests.integration.bus_ledger import Account, Ledger, Sent

NEIGHBOURS = 3
"""How many records of the key, before and after, are told of."""


class TracedAccount(Account):
    """See Account.

    Args:
        name, ledger, ordered: see Account.
        monotonic: seconds, for what is told.
    """

    def __init__(self, name: str, ledger: Ledger, monotonic: Callable[[], float], *, ordered: bool = False) -> None:
        super().__init__(name, ledger, ordered=ordered)
        self._monotonic = monotonic
        self._story: defaultdict[bytes, list[tuple[int, str]]] = defaultdict(list)

    def delivered(self, record: Sent, offset: int, life: int) -> bool:
        """See Account."""
        return self._telling(record, lambda: super(TracedAccount, self).delivered(record, offset, life), "delivered")

    def acked(self, record: Sent) -> None:
        """See Account."""
        self._note(record, "acked")
        super().acked(record)

    def confirmed(self, record: Sent, offset: int, life: int, *, suspect: bool = False) -> None:
        """See Account."""

        def confirm() -> bool:
            super(TracedAccount, self).confirmed(record, offset, life, suspect=suspect)
            return suspect

        self._telling(record, confirm, "confirmed")

    def _telling(self, record: Sent, judge: Callable[[], bool], what: str) -> bool:
        violations = self.findings.violations
        before = len(violations)
        suspect = judge()
        self._note(record, f"{what}{' (suspect)' if suspect else ''}")
        if len(violations) > before:
            near = [f"  {text}" for place, text in self._story[record.key] if abs(place - record.place) <= NEIGHBOURS]
            violations[-1] += "\n" + "\n".join(near)
        return suspect

    def _note(self, record: Sent, what: str) -> None:
        self._story[record.key].append((record.place, f"{self._monotonic():.3f} s {record.name} {what}"))
