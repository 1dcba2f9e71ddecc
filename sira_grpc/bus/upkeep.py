"""Looks after the partitions that are open (in the making)."""

from __future__ import annotations

import asyncio
from typing import Any


class Upkeep:
    """In the making."""

    def __init__(self, *args: Any) -> None:
        self._args = args

    async def run(self) -> None:
        """Waits."""
        await asyncio.Event().wait()
