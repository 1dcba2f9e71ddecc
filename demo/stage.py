"""What a scene acts on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sira_client import Client

from demo.fleet import CALLERS, CALLS_PER_SECOND, Fleet
from demo.ledger import Ledger
from demo.observer import Observer
from demo.screen import Screen
from demo.warehouse import Warehouse

PATIENCE_SECONDS = 15.0
"""How long an effect may take to show. Much more than it takes, for machines that are busy."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What a scene acts on.

    Attributes:
        fleet: what runs.
        observer: what is seen of it.
        warehouse: what runs for the bus.
        ledger: what is seen of that.
        client: of the kernel, an operator's.
        screen: where the story is told.
        seconds: how long to look at what came of a scene.
        watching: the tasks that run until the end.
    """

    fleet: Fleet
    observer: Observer
    warehouse: Warehouse
    ledger: Ledger
    client: Client
    screen: Screen
    seconds: float
    watching: asyncio.TaskGroup

    def steady(self, calls: int) -> bool:
        """Whether so many calls in the time that is looked at are about as many as there should be."""
        return calls > 0.5 * len(CALLERS) * CALLS_PER_SECOND * self.seconds


Scene = Callable[[Demo], Awaitable[None]]
