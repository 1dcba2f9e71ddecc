"""What the demo sees: the reports of the callers, and the service as a watch tells of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from sira_client import Client, Endpoint, HealthState, ServiceView

from demo.news import News
from demo.processes import Process
from demo.report import Report
from demo.tally import Pair, Tally

SERVICE = "namespaces/default/services/greeter"


class Observer:
    """Gathers what is to be seen. `follow` and `listen` run for as long as there is something."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.view: ServiceView | None = None
        self._news = News()

    async def follow(self, client: Client) -> None:
        """Follows the service."""
        async for view in client.watch(SERVICE):
            self.view = view
            self._news.tell()

    async def listen(self, caller: Process) -> None:
        """Takes the reports of a caller until it ends."""
        async for line in caller.lines():
            self.tally.take(caller.name, Report.from_line(line), time.monotonic())
            self._news.tell()

    def endpoint(self, name: str) -> Endpoint | None:
        """A greeter as it is registered; None if it is not."""
        return self.view.endpoints.get(f"{SERVICE}/endpoints/{name}") if self.view else None

    def state(self, name: str) -> str:
        """How the kernel finds a greeter; empty if it is not registered."""
        endpoint = self.endpoint(name)
        if endpoint is None:
            return ""
        return HealthState.Name(endpoint.status.state).removeprefix("HEALTH_STATE_").lower().replace("_", " ")

    async def until(self, condition: Callable[[], bool], *, within: float) -> bool:
        """Waits until a condition holds, which is looked at whenever there is news. False if it does not in time."""
        return await self._news.until(condition, within=within)

    async def during(self, seconds: float) -> Counter[Pair]:
        """The calls that are reported within the next so many seconds."""
        before = self.tally.calls.copy()
        await asyncio.sleep(seconds)
        return self.tally.calls - before
