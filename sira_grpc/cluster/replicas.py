"""The servers that hold the store's state, where the engine has several."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sira_grpc.clock import Clock
from sira_grpc.errors import SiraError
from sira_grpc.store.api import Store

FRESH_SECONDS = 1.0
"""How long an answer counts, and how long it is waited for."""


class Replica(Protocol):
    """One server of the store's cluster, as its leader sees it."""

    @property
    def name(self) -> str:
        """Name of the server."""

    @property
    def leader(self) -> bool:
        """It leads."""

    @property
    def current(self) -> bool:
        """It has everything that the leader has."""

    @property
    def offline(self) -> bool:
        """The leader hears nothing of it."""

    @property
    def lag(self) -> int:
        """Operations that it is behind."""


class ReplicaState(Protocol):
    """The servers that hold the state."""

    @property
    def leader(self) -> str:
        """Name of the one that leads; empty while none does."""

    @property
    def replicas(self) -> Sequence[Replica]:
        """All of them."""


@runtime_checkable
class Replicated(Protocol):
    """An engine that knows of replicas."""

    async def replica_state(self) -> ReplicaState:
        """Asks how they are. Raises: StoreUnavailable."""


class Replicas:
    """Asks the engine, at most once a second however many want to know."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._engine = store if isinstance(store, Replicated) else None
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._state: ReplicaState | None = None

    @property
    def known(self) -> bool:
        """Whether the engine knows of replicas at all."""
        return self._engine is not None

    async def read(self) -> ReplicaState | None:
        """Returns how they are; None where the engine has none, or nobody answers."""
        if self._engine is None:
            return None
        async with self._asking:
            if self._clock.monotonic() - self._asked_at >= FRESH_SECONDS:
                self._state = await self._ask(self._engine)
                self._asked_at = self._clock.monotonic()
            return self._state

    async def _ask(self, engine: Replicated) -> ReplicaState | None:
        try:
            async with asyncio.timeout(FRESH_SECONDS):
                return await engine.replica_state()
        except (SiraError, TimeoutError):
            return None
