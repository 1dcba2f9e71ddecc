"""What the person in front of the demo reads: the story in lines and, on a terminal, a live table below it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from demo.fleet import CALLERS, Fleet
from demo.ledger import Ledger
from demo.observer import Observer
from demo.tally import of

REFRESH_SECONDS = 0.2
BAR_WIDTH = 12
BAR_FROM_WIDTH = 95
"""Width of the terminal from which there is room for bars."""
STYLES = {"serving": "green", "draining": "yellow", "starting": "cyan"}


class Screen:
    """Tells the story. An async context manager: the table lives inside the block.

    On a terminal there are colours, unless NO_COLOR is set, and the table. Elsewhere there are plain lines, with the
    calls of the last second after each scene.

    Args:
        out: where to write.
        fleet: what runs.
        observer: what is seen of it.
        ledger: what is seen of the orders on the bus.
    """

    def __init__(self, out: TextIO, fleet: Fleet, observer: Observer, ledger: Ledger) -> None:
        alive = out.isatty()
        # A width of our own, so that lines are not broken where no person reads them.
        self._console = Console(
            file=out, highlight=False, force_terminal=None if alive else False, width=None if alive else 10_000
        )
        self._fleet = fleet
        self._observer = observer
        self._ledger = ledger
        self._began = time.monotonic()
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._alive = alive and not self._console.is_dumb_terminal
        self._refreshing: asyncio.Task[None] | None = None
        self.failures: list[str] = []

    def scene(self, title: str) -> None:
        """Begins a scene."""
        self._say(f"\n[dim]{time.monotonic() - self._began:5.1f} s[/]  [bold]{escape(title)}[/]")

    def note(self, text: str) -> None:
        """Tells something."""
        self._say(f"         {escape(text)}")

    def check(self, ok: bool, text: str) -> None:
        """Tells what had to come true and whether it did. What did not is remembered as a failure."""
        if not ok:
            self.failures.append(text)
        self._say(f"     [green]ok[/]  {escape(text)}" if ok else f" [bold red]NOT SO[/]  {escape(text)}")

    def standing(self) -> None:
        """Tells the calls of the last second, where no table does."""
        if not self._alive:
            calls = self._observer.tally.last_second(time.monotonic())
            parts = [f"{name} {of(calls, greeters=[name])}" for name in self._fleet.running]
            self.note(f"calls in the last second: {', '.join(parts)}; failed so far: {self._observer.tally.failed}")

    def summary(self) -> None:
        """Tells who got how many calls, and how they went, over all."""
        self._say("")
        self._console.print(self._table())
        self._say("")
        self._console.print(self._totals())

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=not self._alive)

    def _table(self) -> Table:
        tally = self._observer.tally
        recent = tally.last_second(time.monotonic())
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
        for title in ("PROCESS", "LOCALITY", "STATE"):
            table.add_column(title, no_wrap=True)
        for title in (*(f"FROM {caller}" for caller in CALLERS), "CALLS/S", "TOTAL"):
            table.add_column(title.upper(), justify="right", no_wrap=True)
        bars = self._alive and self._console.width >= BAR_FROM_WIDTH
        if bars:
            table.add_column("", width=BAR_WIDTH, no_wrap=True)
        busiest = max([1, *(of(recent, greeters=[name]) for name in self._fleet.greeters)])
        for name, greeter in self._fleet.greeters.items():
            rate = of(recent, greeters=[name])
            cells: list[str | Text] = [name, str(greeter.place), self._state(name)]
            cells += [str(of(tally.calls, caller=caller, greeters=[name])) for caller in CALLERS]
            cells += [str(rate), str(of(tally.calls, greeters=[name]))]
            if bars:
                cells.append(Text("━" * round(BAR_WIDTH * rate / busiest), style="green"))
            table.add_row(*cells, style="dim" if greeter.fate else "")
        return table

    def _state(self, name: str) -> Text:
        """What has been done to a greeter, and how it is by the registry."""
        fate, state = self._fleet.greeters[name].fate, self._observer.state(name)
        if fate:
            return Text(f"{fate}, {state}" if state else fate)
        return Text(state or "not registered", style=STYLES.get(state, "red"))

    def _totals(self) -> Text:
        tally = self._observer.tally
        failed = Text(f"{tally.failed} failed", style="bold red" if tally.failed else "bold green")
        return Text.assemble(
            (f"{of(tally.calls) + tally.failed} calls", "bold"),
            ", ",
            failed,
            f", {tally.retried} answered by another greeter than the one they were sent to first"
            f"; latency p50 {tally.percentile(50):.0f} ms, p99 {tally.percentile(99):.0f} ms",
            *self._orders(),
        )

    def _orders(self) -> Iterator[str | tuple[str, str]]:
        """What has become of the orders, once there are any."""
        ledger = self._ledger
        if ledger.orders:
            shares = ", ".join(f"{picker} {count}" for picker, count in sorted(ledger.by_picker.items()))
            yield "\n"
            yield f"{ledger.acknowledged} orders", "bold"
            yield f" acknowledged, {ledger.failed} refused; handled by {shares or 'nobody yet'}"

    async def __aenter__(self) -> Self:
        """Puts the table up."""
        if self._alive:
            self._live.start()
            self._refreshing = asyncio.create_task(self._refresh())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes the table away."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
            self._live.update("", refresh=True)
            self._live.stop()

    async def _refresh(self) -> None:
        while True:
            self._live.update(Group("", self._table(), "", self._totals()), refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)
