"""The lead of an election, as the candidate has it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from sira_client.errors import SiraError
from sira_client.locks.claim import CampaignClaim
from sira_client.locks.claim_holder import ClaimHolder


class Leadership:
    """Stands for an election at the beginning of an `async with` block, which goes on once it leads, until its end.

    It survives what a lock survives, and is lost as a lock is: then `lost` is set.

    Args:
        name: resource name of the election.
        holder: stands and leads.
        claim: what it stands with.
    """

    def __init__(self, name: str, holder: ClaimHolder, claim: CampaignClaim) -> None:
        self.name = name
        self._holder = holder
        self._claim = claim

    @property
    def term(self) -> int:
        """Fencing token: larger than that of every earlier leader. 0 before it leads."""
        return self._holder.token

    @property
    def lost(self) -> asyncio.Event:
        """Set when it does not lead any more, though it did not resign."""
        return self._holder.lost

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as the clock of this process can tell right now."""
        return self._holder.held

    @property
    def error(self) -> SiraError | None:
        """Why the lead was lost, or why it is being attached again. None while all is well."""
        return self._holder.error

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call that is to fail once somebody else leads."""
        return (("sira-fencing", f"{self.name}={self.term}"),)

    @property
    def closed(self) -> bool:
        """Whether it was begun and has ended."""
        return self._holder.closed

    async def proclaim(self, value: bytes) -> None:
        """Proclaims another value, and returns once it is durable and on its way to observers.

        Raises:
            LockLostError: it does not lead any more.
            SiraError: the kernel refused, and the lead is lost with it.
        """
        await self._holder.proclaim(lambda: self._claim.proclaim(value))

    async def close(self) -> None:
        """Resigns. More than once is as good as once."""
        await self._holder.close()

    async def __aenter__(self) -> Self:
        """Stands, and waits until it leads.

        Raises:
            LockHeldError: others led for as long as it was to wait.
            SiraError: the kernel refused, or was not there in time.
        """
        await self._holder.acquire()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Resigns."""
        await self.close()
