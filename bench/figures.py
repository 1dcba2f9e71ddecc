"""What a benchmark reports: figures with their baselines and bars, and one line of JSON at the end."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    durability: what was durable when it was measured; empty where nothing is stored.
    baseline: the floor or peer in the same run, in the same unit; None where there is none.
    ratio: value / baseline.
    bar: what was asked for, in words.
    ok: whether the bar is met; None where there is none.
    """

    name: str
    value: float
    unit: str
    durability: str = ""
    baseline: float | None = None
    ratio: float | None = None
    bar: str = ""
    ok: bool | None = None


class Report:
    """The figures of one benchmark, told as they come on stderr."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._figures: list[Figure] = []

    def add(  # noqa: PLR0913 - a figure and its bars, by name
        self,
        name: str,
        value: float,
        unit: str,
        *,
        durability: str = "",
        baseline: float | None = None,
        at_most: float | None = None,
        at_least: float | None = None,
        ratio_at_most: float | None = None,
        ratio_at_least: float | None = None,
    ) -> None:
        """Adds a figure; the bars it is given make its `bar` and `ok`."""
        ratio = value / baseline if baseline else None
        bars = [
            (f"<= {at_most:g} {unit}", value <= at_most) if at_most is not None else None,
            (f">= {at_least:g} {unit}", value >= at_least) if at_least is not None else None,
            _ratio_bar("<=", ratio, ratio_at_most),
            _ratio_bar(">=", ratio, ratio_at_least),
        ]
        met = [bar for bar in bars if bar is not None]
        figure = Figure(
            name,
            _round(value),
            unit,
            durability,
            None if baseline is None else _round(baseline),
            None if ratio is None else _round(ratio),
            " and ".join(words for words, _ in met),
            all(ok for _, ok in met) if met else None,
        )
        self._figures.append(figure)
        self.say(_line(figure))

    @staticmethod
    def say(text: str) -> None:
        """Tells the person who waits."""
        print(text, file=sys.stderr, flush=True)

    def finish(self) -> bool:
        """Prints the JSON line and says whether every bar was met."""
        figures = [asdict(figure) for figure in self._figures]
        print(json.dumps({"name": self._name, "machine": machine(), "figures": figures}), flush=True)
        return all(figure.ok is not False for figure in self._figures)


def _ratio_bar(sign: str, ratio: float | None, bar: float | None) -> tuple[str, bool] | None:
    if bar is None or ratio is None:
        return None
    return f"{sign} {bar:g}x baseline", ratio <= bar if sign == "<=" else ratio >= bar


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _line(figure: Figure) -> str:
    text = f"  {figure.name:<44} {figure.value:>10g} {figure.unit}"
    if figure.baseline is not None:
        text += f"  (baseline {figure.baseline:g}, ratio {figure.ratio:g})"
    if figure.bar:
        text += f"  [{figure.bar}: {'ok' if figure.ok else 'MISSED'}]"
    return text


def machine() -> str:
    """Returns the processor, cores, memory, kernel and Python in a line."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory = next((int(line.split()[1]) // 2**20 for line in _read("/proc/meminfo") if line.startswith("MemTotal")), 0)
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {memory} GiB, {system}"


def _read(path: str) -> Sequence[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return ()


def median(values: Sequence[float]) -> float:
    """Returns the median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
