"""A cell of the matrix: one column in one row, and what it sees there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from tests.mesh.agent import NAMESPACE
from tests.mesh.columns import Caller, Column
from tests.mesh.endpoint import SERVICE
from tests.mesh.tally import Tally

PATIENCE = 15.0
"""Seconds after which a cell has failed that waits for something."""
PAUSE = 0.05
"""Seconds between two looks."""
RPS = 50


class State(StrEnum):
    """How a cell came out."""

    PASSED = "pass"
    FAILED = "fail"
    UNSUPPORTED = "not supported"
    SKIPPED = "skipped"


class Cell:
    """One column in one row.

    Attributes:
        column: which.
        state, note: how it came out, and why.
    """

    def __init__(self, caller: Caller, channel: str) -> None:
        self.column: Column = caller.column
        self.state = State.PASSED
        self.note = ""
        self._caller = caller
        self._channel = channel
        self._open: set[str] = set()
        self._loading = False
        self._failed: list[Tally] = []

    async def open(self, service: str, *, short: bool = False) -> None:
        """Opens the channel of the cell to a service: by its name with the namespace, or without."""
        await self._caller.open(self._channel, service if short else f"{service}.{NAMESPACE}")
        self._open.add(self._channel)

    async def reopen(self, service: str) -> None:
        """Lets go of the channel, and opens another."""
        await self.close()
        await self.open(service)

    async def call(self, n: int = 1, **options: Any) -> Tally:
        """Makes calls; options as in clients/PROTOCOL.md."""
        return Tally.of(await self._ask("call", n=n, **options))

    async def until(
        self, holds: Callable[[Tally], bool], n: int = 1, *, seconds: float = PATIENCE, **options: Any
    ) -> Tally:
        """Makes calls, n at a time, until something holds of n of them. Returns what became of those.

        Raises:
            AssertionError: it does not hold in time.
        """
        return await self._until(lambda: self.call(n, **options), holds, seconds)

    async def load(self, **options: Any) -> None:
        """Begins a steady load on the channel."""
        await self._ask("load", **{"rps": RPS, **options})
        self._loading = True

    async def load_until(self, holds: Callable[[Tally], bool], *, seconds: float = PATIENCE) -> Tally:
        """Looks at the load until something holds of what became of it between two looks."""
        return await self._until(self._loaded, holds, seconds, pause=4 * PAUSE)

    async def unload(self, *, may_fail: bool = False) -> None:
        """Ends the load.

        Raises:
            AssertionError: one of its calls has failed, and none may.
        """
        self._loading = False
        self._keep(Tally.of(await self._ask("unload")))
        failed, self._failed = self._failed, []
        assert may_fail or not failed, f"calls of the load failed: {' / '.join(map(str, failed))}"

    async def aside(self, service: str, n: int, **options: Any) -> Tally:
        """Makes calls on a further channel, which is new and let go of at once."""
        channel = f"{self._channel}-aside"
        await self._caller.open(channel, f"{service}.{NAMESPACE}")
        try:
            return Tally.of(await self._caller.client.ask("call", channel, n=n, **options))
        finally:
            await self._caller.client.ask("close", channel)

    async def close(self) -> None:
        """Lets go of the channel, and of its load."""
        if self._loading:
            self._loading = False
            await self._ask("unload")
        if self._open:
            self._open.clear()
            await self._ask("close")

    async def _loaded(self) -> Tally:
        return self._keep(Tally.of(await self._ask("loaded")))

    def _keep(self, tally: Tally) -> Tally:
        if tally.failed:
            self._failed.append(tally)
        return tally

    async def _until(
        self, look: Callable[[], Any], holds: Callable[[Tally], bool], seconds: float, pause: float = PAUSE
    ) -> Tally:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            seen: Tally = await look()
            if holds(seen):
                return seen
            assert loop.time() < end, f"it is not so after {seconds:g} s; at last: {seen}"
            await asyncio.sleep(pause)

    async def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return await self._caller.client.ask(op, self._channel, **fields)


def method_of(cell: Cell) -> str:
    """A method that only the client of this cell calls, for endpoints to tell its calls from others."""
    return f"{SERVICE}{cell.column.name.title().replace('-', '')}"
