"""What a run of faults has shown, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.meter import Meter
from tests.faults.schedule import Fault

WRONG = (
    "lost",
    "duplicated",
    "reordered",
    "delivered after it was settled",
    "not linearizable",
    "held by two",
    "evicted while its holder lives",
    "served after its end",
)
"""What is told of even where there was none."""


@dataclass(frozen=True)
class Outcome:
    """One run.

    Attributes:
        seed, seconds: what it was run with.
        faults: how often each was done.
        meter: what the clients met with.
    """

    seed: int
    seconds: float
    faults: dict[Fault, int]
    meter: Meter

    @property
    def violations(self) -> list[str]:
        """What must not have been."""
        return self.meter.findings.violations

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(outcome: Outcome) -> Iterator[str]:
    meter, counts = outcome.meter, outcome.meter.findings.counts
    yield f"seed {outcome.seed}, {outcome.seconds:g} s"
    yield from _table("injected", [(fault.value, str(outcome.faults.get(fault, 0))) for fault in Fault])
    operations = [
        (kind, f"{count}, longest without {meter.longest[kind]:.1f} s")
        for kind, count in sorted(meter.successes.items())
    ]
    yield from _table("operations", operations)
    errors = [(" ".join(key), str(count)) for key, count in sorted(meter.errors.items())]
    yield from _table("errors that clients saw", errors)
    kinds = {violation.partition(":")[0] for violation in outcome.violations}
    yield from _table("counted", [(kind, str(n)) for kind, n in sorted(counts.items()) if kind not in {*kinds, *WRONG}])
    wrong = [*WRONG, *sorted(kinds - set(WRONG))]
    yield from _table("violations", [(kind, str(counts[kind])) for kind in wrong])
    yield from (f"  {violation}" for violation in outcome.violations[:20])


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f"{title}:"
    width = max((len(name) for name, _ in rows), default=0)
    yield from (f"  {name:<{width}}  {value}" for name, value in rows)
