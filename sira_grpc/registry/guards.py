"""Keeps a service or namespace from being deleted under a commit that needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from sira_grpc.errors import NamespaceNotFound, ServiceNotFound


class DeletionGuard:
    """Counts the commits that need a name to stay; deleting waits for them and refuses later ones."""

    def __init__(self) -> None:
        self._users: dict[str, int] = {}
        self._deleting: set[str] = set()
        self._released = asyncio.Event()

    @contextmanager
    def using(self, resources: Iterable[str]) -> Iterator[None]:
        """Keeps names from being deleted while the block runs.

        Raises:
            ServiceNotFound, NamespaceNotFound: one of them is being deleted now.
        """
        held = tuple(resources)
        for name in held:
            if name in self._deleting:
                kind = ServiceNotFound if "/services/" in name else NamespaceNotFound
                raise kind(f"{name} is being deleted", metadata={"resource": name})
        for name in held:
            self._users[name] = self._users.get(name, 0) + 1
        try:
            yield
        finally:
            for name in held:
                self._users[name] -= 1
                if not self._users[name]:
                    del self._users[name]
            self._released.set()

    @asynccontextmanager
    async def deleting(self, name: str) -> AsyncIterator[None]:
        """Refuses new users of a name, waits for those there are, and lets the block delete it: one block at a time."""
        while name in self._deleting:
            await self._change()
        self._deleting.add(name)
        try:
            while name in self._users:
                await self._change()
            yield
        finally:
            self._deleting.discard(name)
            self._released.set()

    async def _change(self) -> None:
        self._released.clear()
        await self._released.wait()
