"""Whether something has come in: for those who wait for it to have an effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class News:
    """Told whenever something has come in."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Has everybody who waits look again."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def until(self, condition: Callable[[], bool], *, within: float) -> bool:
        """Waits until a condition holds, which is looked at whenever there is news. False if it does not in time."""
        try:
            async with asyncio.timeout(within):
                while not condition():
                    await self._event.wait()
        except TimeoutError:
            return condition()
        return True
