"""What has become of each order: the reports of the shop and the pickers, added up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from demo.handling import Handling
from demo.news import News
from demo.sales import Sales


@dataclass(slots=True)
class Entry:
    """One order.

    Attributes:
        acknowledged: the shop was told that it is stored.
        customer, nth: see Order; known once a picker has had it.
        handled: when, by whom each time; more than once where an acknowledgement did not come through.
        refused: which delivery it was, by whom and why, each time that it could not be handled.
        in_hand: the pickers that have taken it and told nothing of it since.
    """

    acknowledged: bool = False
    customer: str = ""
    nth: int = 0
    handled: list[tuple[float, str]] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    in_hand: set[str] = field(default_factory=set)


class Ledger:
    """Adds up reports.

    Attributes:
        orders: by number.
        odd: the number of the order whose quantity is written out; 0 while there is none.
        again: how often an order was taken that was delivered before.
        failed, errors: orders that the kernel refused to take, and what the first ones were refused with.
        durabilities: what the acknowledgements said that the orders survive.
        news: told when a report has come in.
    """

    def __init__(self) -> None:
        self.orders: dict[int, Entry] = {}
        self.odd = 0
        self.again = 0
        self.failed = 0
        self.errors: list[str] = []
        self.durabilities: set[str] = set()
        self.news = News()
        self._acknowledged: list[float] = []
        self._handled: list[float] = []

    def sold(self, sales: Sales) -> None:
        """Takes a report of the shop."""
        for number in sales.acknowledged:
            self._entry(number).acknowledged = True
        self.odd = max([self.odd, *sales.odd])
        self.failed += sales.failed
        self.errors += sales.errors
        self.durabilities.update(sales.durabilities)
        self._acknowledged += sales.millis
        self.news.tell()

    def handled(self, picker: str, handling: Handling) -> None:
        """Takes a report of a picker."""
        entry = self._entry(handling.number)
        entry.customer, entry.nth = handling.customer, handling.nth
        if handling.step == "taken":
            entry.in_hand.add(picker)
            self.again += handling.attempt > 1
            if handling.attempt == 1:
                self._handled.append(handling.millis)
        else:
            entry.in_hand.discard(picker)
        if handling.step == "handled":
            entry.handled.append((handling.at, picker))
        if handling.step == "refused":
            entry.refused.append((handling.attempt, picker, handling.why))
        self.news.tell()

    def _entry(self, number: int) -> Entry:
        return self.orders.setdefault(number, Entry())

    @property
    def acknowledged(self) -> int:
        """Orders that the shop was told are stored."""
        return sum(entry.acknowledged for entry in self.orders.values())

    @property
    def missing(self) -> list[int]:
        """Those of them that nobody has handled."""
        return [number for number, entry in self.orders.items() if entry.acknowledged and not entry.handled]

    @property
    def repeated(self) -> int:
        """Orders that were handled more than once."""
        return sum(len(entry.handled) > 1 for entry in self.orders.values())

    @property
    def by_picker(self) -> Counter[str]:
        """How many orders each has handled."""
        return Counter(picker for entry in self.orders.values() for _, picker in entry.handled)

    @property
    def overtaken(self) -> int:
        """Orders that were handled before an earlier one of their customer; the odd one, put aside, does not count."""
        by_customer: dict[str, list[tuple[int, float]]] = {}
        for number, entry in self.orders.items():
            if entry.handled and number != self.odd:
                by_customer.setdefault(entry.customer, []).append((entry.nth, min(entry.handled)[0]))
        overtaken = 0
        for handled in by_customer.values():
            moments = [moment for _, moment in sorted(handled)]
            overtaken += sum(later < earlier for earlier, later in pairwise(moments))
        return overtaken

    def in_hand_of(self, picker: str) -> list[int]:
        """The orders that a picker has taken, and told nothing of since."""
        return [number for number, entry in self.orders.items() if picker in entry.in_hand]

    def to_acknowledge(self, percent: float) -> float:
        """The milliseconds from sending to acknowledging that so many percent of the orders did not exceed."""
        return _percentile(self._acknowledged, percent)

    def to_take(self, percent: float) -> float:
        """The milliseconds from publishing to a picker's hand that so many percent did not exceed."""
        return _percentile(self._handled, percent)


def _percentile(millis: list[float], percent: float) -> float:
    ordered = sorted(millis)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
