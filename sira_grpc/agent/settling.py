"""Tells the kernel when what it said is in use here: renewed, written and handed on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from sira_client.clock import Clock

from sira_grpc.agent import trust
from sira_grpc.agent.bundle_watch import Delivery
from sira_grpc.agent.holdings import Holdings
from sira_grpc.watch import ChangeFeed

_log = logging.getLogger(__name__)

FILES_SECONDS = 2.0
"""How long programs that look at their files every second are given to see them, once they are written."""
READ_SECONDS = 30.0
"""How long a program may take to read what it follows, before the kernel is told without it: one that hangs must not
hold a rotation up for everybody."""


class Settling:
    """Puts what the kernel says to use, and acknowledges it. What is overtaken by something newer is dropped.

    Args:
        holdings: what lives by it.
        clock: the time.
        read_seconds: see READ_SECONDS.
    """

    def __init__(self, holdings: Holdings, *, clock: Clock, read_seconds: float = READ_SECONDS) -> None:
        self._holdings = holdings
        self._clock = clock
        self._read_seconds = read_seconds
        self._latest: Delivery | None = None
        self._arrived = asyncio.Event()

    def received(self, delivery: Delivery) -> None:
        """Takes what the kernel says. It is lived by from here on."""
        try:
            state = trust.from_watch(delivery.message, self._holdings.trust.trust_domain)
        except ValueError as error:
            _log.error("what the kernel says of trust is not heeded: %s", error)
            return
        if state != self._holdings.trust:
            self._holdings.adopt(state)
        self._latest = delivery
        self._arrived.set()

    async def run(self) -> None:
        """Acknowledges, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            delivery = self._latest
            if delivery is not None and await self._unless_overtaken(self._in_use()):
                await delivery.acknowledge()

    async def _unless_overtaken(self, work: Coroutine[Any, Any, None]) -> bool:
        """Does a piece of work, and gives it up when something newer arrives. Returns whether it was done."""
        working = asyncio.create_task(work)
        arriving = asyncio.create_task(self._arrived.wait())
        try:
            await asyncio.wait({working, arriving}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()  # a defect must not pass for an end
            return working.done()
        finally:
            working.cancel()
            arriving.cancel()
            await asyncio.gather(working, arriving, return_exceptions=True)

    async def _in_use(self) -> None:
        """Returns once all is renewed, on disk, and with those who follow it."""
        await self._holdings.renewed()
        await passed(self._holdings.files)
        if self._holdings.files.subscribers:
            await self._clock.sleep(FILES_SECONDS)
        try:
            await asyncio.wait_for(passed(self._holdings.streams), self._read_seconds)
        except TimeoutError:
            _log.warning("some programs have not read what changed for %.0f s", self._read_seconds)


async def passed(feed: ChangeFeed) -> None:
    """Returns once all that follow a feed now have seen what is in it now."""
    barrier = feed.barrier(feed.revision)
    try:
        await barrier.opened.wait()
    finally:
        feed.drop(barrier)
