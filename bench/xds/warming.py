"""For how long clusters of an Envoy warm: until it has their endpoints, it serves what they were before, or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

EVERY_SECONDS = 0.01
_REJECTED = r"update_rejected$"


class Warming:
    """What was seen of one Envoy, again and again.

    Attributes:
        longest: for how long a cluster was warming, seconds, to the next look.
        which: its name.
        seen: how many were, at some look.
        rejected: updates that Envoy has refused.
    """

    def __init__(self, session: aiohttp.ClientSession, admin: int) -> None:
        self.longest = 0.0
        self.which = ""
        self.seen = 0
        self.rejected = 0
        self._session = session
        self._base = f"http://127.0.0.1:{admin}"
        self._since: dict[str, float] = {}

    async def follow(self) -> None:
        """Looks for ever."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Looks once."""
        answer = await self._json("/config_dump", resource="dynamic_warming_clusters")
        now = time.perf_counter()
        warming = {str(each["cluster"]["name"]) for each in answer.get("configs", [])}
        for name in warming - self._since.keys():
            self._since[name] = now
            self.seen += 1
        for name, since in self._since.items():
            if now - since > self.longest:
                self.longest, self.which = now - since, name
        self._since = {name: since for name, since in self._since.items() if name in warming}

    async def finish(self) -> None:
        """Asks for what was counted."""
        answer = await self._json("/stats", format="json", filter=_REJECTED)
        self.rejected = sum(int(each.get("value", 0)) for each in answer["stats"])

    async def _json(self, path: str, **query: str) -> Any:
        async with self._session.get(self._base + path, params=query) as response:
            response.raise_for_status()
            return await response.json(content_type=None)


@contextlib.asynccontextmanager
async def watched(admin: int) -> AsyncIterator[Warming]:
    """Looks at an Envoy for the length of the block.

    Args:
        admin: port of its administration, on loopback.
    """
    async with aiohttp.ClientSession() as session:
        warming = Warming(session, admin)
        following = asyncio.create_task(warming.follow())
        try:
            yield warming
            if following.done():
                following.result()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
