"""A source of identities that a test gives, written as a user would write one; and time that passes quickly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from random import Random

from sira_client import Identity, IdentitySource, Settings, SystemClock


class QuickClock(SystemClock):
    """Sleeps a thousandth of the time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)


def quick() -> Settings:
    """Short waits, and chance that repeats."""
    return Settings(first_backoff=0.005, longest_backoff=0.05, random=Random(5))


class Given(IdentitySource):
    """Gives what `give` was called with last. Raises what `fail` was called with, once."""

    def __init__(self, first: Identity | None = None, *, timeout: float = 0.0) -> None:
        super().__init__(timeout=timeout, settings=quick())
        self._latest = first
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self.began = asyncio.Semaphore(0)
        self.followed = 0
        self.following = 0

    def __str__(self) -> str:
        return "what the test gives"

    def give(self, identity: Identity) -> None:
        self._latest = identity
        self._news.set()

    async def taken(self) -> None:
        """Waits until what was given last is current."""
        while self.current is not self._latest:
            await self.changed(self.current)

    def fail(self, error: Exception) -> None:
        self._error = error
        self._news.set()

    async def follow(self) -> AsyncGenerator[Identity, None]:
        self.followed += 1
        self.began.release()
        self.following += 1
        try:
            while True:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                if self._latest is not None:
                    yield self._latest
                await self._news.wait()
                self._news.clear()
        finally:
            self.following -= 1
