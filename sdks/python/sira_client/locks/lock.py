"""A lock, or some permits of a semaphore, that this process acquires and holds."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from sira_client.errors import SiraError
from sira_client.locks.claim_holder import ClaimHolder


class Lock:
    """Held from the beginning of an `async with` block to its end, unless it is lost: then `lost` is set.

    It survives lost connections and members that are gone, for as long as its TTL holds. A program that was stopped or
    cut off for longer has lost it; somebody else may have it. So what it protects should look at the token: calls of
    Sira that come with `metadata` do.

    Args:
        name: resource name.
        holder: claims and holds it.
    """

    def __init__(self, name: str, holder: ClaimHolder) -> None:
        self.name = name
        self._holder = holder

    @property
    def token(self) -> int:
        """Fencing token: larger than that of every earlier holder. 0 before the lock is held."""
        return self._holder.token

    @property
    def lost(self) -> asyncio.Event:
        """Set when the lock is not held any more, though it was not released."""
        return self._holder.lost

    @property
    def held(self) -> bool:
        """Whether it is held, as far as the clock of this process can tell right now."""
        return self._holder.held

    @property
    def error(self) -> SiraError | None:
        """Why it was lost, or why it is being attached again. None while all is well."""
        return self._holder.error

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call that is to fail once the lock has gone on to somebody else."""
        return (("sira-fencing", f"{self.name}={self.token}"),)

    @property
    def closed(self) -> bool:
        """Whether it was begun and has ended."""
        return self._holder.closed

    async def close(self) -> None:
        """Releases it. More than once is as good as once."""
        await self._holder.close()

    async def __aenter__(self) -> Self:
        """Acquires it.

        Raises:
            LockHeldError: it is held by others, and was not to be had in time.
            SiraError: the kernel refused, or was not there in time.
        """
        await self._holder.acquire()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Releases it."""
        await self.close()
