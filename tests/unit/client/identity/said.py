"""What the client has logged, to be waited for."""

from __future__ import annotations

import asyncio
import logging


class Said(logging.Handler):
    """Keeps what is logged; used on the event loop alone."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._more.set()

    async def until(self, text: str) -> None:
        """Waits until a line contains the text."""
        async with asyncio.timeout(20):
            while not any(text in line for line in self.lines):
                self._more.clear()
                await self._more.wait()
