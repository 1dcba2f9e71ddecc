"""What a client closes at its end."""

from __future__ import annotations

from typing import Protocol


class Owned(Protocol):
    """What is closed with the client at the latest."""

    @property
    def closed(self) -> bool:
        """Whether it has ended."""

    async def close(self) -> None:
        """Ends it in good order. More than once is as good as once."""
