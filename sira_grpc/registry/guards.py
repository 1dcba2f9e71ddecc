"""Keeps a service or namespace from being deleted under a commit that needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sira_grpc.errors import ServiceNotFound


class DeletionGuard:
    """Counts the commits that need a name to stay; deleting waits for them and refuses later ones."""

    def __init__(self) -> None:
        self._users: dict[str, int] = {}
        self._deleting: set[str] = set()
        self._released = asyncio.Event()

    @contextmanager
    def using(self, resources: Iterable[str]) -> Iterator[None]:
        """Keeps names from being deleted until the block is left.

        Raises:
            ServiceNotFound: one of them is being deleted now.
        """
        held = tuple(resources)
        for name in held:
            if name in self._deleting:
                raise ServiceNotFound(f"{name} is being deleted", metadata={"resource": name})
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

    async def deleting(self, name: str) -> None:
        """Refuses new users of a name and waits for those there are. To be ended with deleted()."""
        self._deleting.add(name)
        while name in self._users:
            self._released.clear()
            await self._released.wait()

    def deleted(self, name: str) -> None:
        """Lets the name be used again, if it is still there."""
        self._deleting.discard(name)
