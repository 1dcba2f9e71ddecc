"""What the scenes of the bus run: the shop, and the pickers that share its orders."""

from __future__ import annotations

import asyncio
import signal

from demo.fleet import Fleet
from demo.handling import Handling
from demo.ledger import Ledger
from demo.processes import Process, Processes
from demo.sales import Sales

SUBSCRIPTION = "picking"
PICKERS = ("picker-1", "picker-2", "picker-3")
ORDERS_PER_SECOND = 100


class Warehouse:
    """The processes, by name.

    Args:
        processes: starts them, and ends those that are left.
        fleet: knows the kernel and the identities.
        ledger: gets what they tell.
        watching: runs the tasks that listen to them, each until its process ends.
    """

    def __init__(self, processes: Processes, fleet: Fleet, ledger: Ledger, watching: asyncio.TaskGroup) -> None:
        self.shop: Process | None = None
        self.pickers: dict[str, Process] = {}
        self._processes = processes
        self._fleet = fleet
        self._ledger = ledger
        self._watching = watching
        self._listening: dict[str, asyncio.Task[None]] = {}

    async def open_shop(self) -> None:
        """Starts the shop, which sends orders as soon as it is connected."""
        where = (self._fleet.address, str(self._fleet.identity("shop")))
        shop = await self._processes.python("shop", "-m", "demo.shop_process", *where, str(ORDERS_PER_SECOND))
        self._listening[shop.name] = self._watching.create_task(self._listen_to_shop(shop))
        self.shop = shop

    async def start_picker(self, name: str, *, words: bool = False) -> None:
        """Starts a picker; `words` if it understands quantities that are written out."""
        where = (self._fleet.address, str(self._fleet.identity("warehouse")), name, SUBSCRIPTION)
        picker = await self._processes.python(name, "-m", "demo.picker_process", *where, *["--words"][:words])
        self._listening[name] = self._watching.create_task(self._listen_to_picker(picker))
        self.pickers[name] = picker

    async def _listen_to_shop(self, shop: Process) -> None:
        async for line in shop.lines():
            self._ledger.sold(Sales.from_line(line))

    async def _listen_to_picker(self, picker: Process) -> None:
        async for line in picker.lines():
            self._ledger.handled(picker.name, Handling.from_line(line))

    def be_odd(self) -> None:
        """Has the shop send an order with a quantity that is written out."""
        assert self.shop is not None, "it was opened"
        self.shop.signal(signal.SIGUSR1)

    async def kill_picker(self, name: str) -> None:
        """Ends a picker with SIGKILL, and reads what it has told until then."""
        await self._end(self.pickers.pop(name), signal.SIGKILL)

    async def stop_picker(self, name: str) -> int:
        """Ends a picker with SIGTERM, so that it finishes what it has in hand, and returns its exit code."""
        return await self._end(self.pickers.pop(name), signal.SIGTERM)

    async def close_shop(self) -> int:
        """Ends the shop with SIGTERM, so that all that it has sent is acknowledged, and returns its exit code."""
        assert self.shop is not None, "it was opened"
        shop, self.shop = self.shop, None
        return await self._end(shop, signal.SIGTERM)

    async def _end(self, process: Process, number: signal.Signals) -> int:
        process.signal(number)
        await self._listening.pop(process.name)
        return await process.wait()

    def lost(self) -> list[Process]:
        """The processes that have ended of themselves."""
        running = [*self.pickers.values(), *([self.shop] if self.shop is not None else [])]
        return [process for process in running if process.ended]
