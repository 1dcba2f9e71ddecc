"""A service that calls go to: what is known of it, and the connections to its endpoints."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from sira_client.balanced.pool import Pool
from sira_client.balancing import Candidate
from sira_client.dialing import Dial
from sira_client.errors import NotFoundError, SiraError
from sira_client.first_of import drop
from sira_client.settings import Settings
from sira_client.source import Source
from sira_client.view import ServiceView

_log = logging.getLogger(__name__)

Follow = Callable[[], AsyncIterator[ServiceView]]


class Follower(Protocol):
    """Who uses a backend. What it is told it must take in without blocking."""

    @property
    def wanted(self) -> Sequence[Candidate]:
        """The endpoints that it may use, those without weight only as far as they are connected."""

    def select(self) -> None:
        """The service has changed: it is to choose its endpoints anew. `refresh` follows."""

    def refresh(self) -> None:
        """Connections have changed, or the service has a problem."""


class Backend:
    """Follows one service, for the balancers of its subsets, which share its connections.

    Args:
        service: resource name, for messages.
        follow: yields the service's states; ends with an error where the service is not there.
        dial: opens connections.
        settings: of the client.
        renewed: when it changes, each connection is opened anew. None for never.

    Attributes:
        pool: the connections.
        view: the service as it was last seen; None while it is not known.
        problem: why nothing is heard of it; None while all is well.
    """

    def __init__(
        self, service: str, follow: Follow, dial: Dial, settings: Settings, renewed: Source[Any] | None = None
    ) -> None:
        self.service = service
        self.pool = Pool(dial, self._connections_changed)
        self.view: ServiceView | None = None
        self.problem: SiraError | None = None
        self._follow = follow
        self._settings = settings
        self._followers: list[Follower] = []
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run())]
        if renewed is not None:
            self._tasks.append(loop.create_task(self._renew(renewed, renewed.current)))

    @property
    def missing(self) -> bool:
        """Whether there is no such service."""
        return self.view is None and isinstance(self.problem, NotFoundError)

    @property
    def idle(self) -> bool:
        """Whether nobody uses it."""
        return not self._followers

    def attach(self, follower: Follower) -> None:
        """Has a follower use it. What is known already it has to look at by itself."""
        self._followers.append(follower)

    def detach(self, follower: Follower) -> None:
        """Lets a follower go."""
        self._followers.remove(follower)
        self.sync()

    def sync(self) -> None:
        """Connects to what the followers want, and lets go of the rest; calls that are under way there finish."""
        wanted: dict[str, Candidate] = {}
        for follower in self._followers:
            for candidate in follower.wanted:
                known = wanted.get(candidate.endpoint.name)
                if known is None or (candidate.weight and not known.weight):
                    wanted[candidate.endpoint.name] = candidate
        self.pool.sync(list(wanted.values()))

    async def retire(self) -> None:
        """Stops following, lets the calls under way finish, and closes all connections."""
        await drop(*self._tasks)
        try:
            await self.pool.retire()
        finally:
            await self.pool.close()

    async def close(self) -> None:
        """Stops following, and closes all connections."""
        await drop(*self._tasks)
        await self.pool.close()

    async def _run(self) -> None:
        """Follows the service, and begins again when that fails: it may not be there yet."""
        backoff = self._settings.backoff()
        while True:
            try:
                async for view in self._follow():
                    backoff.reset()
                    self._became(view)
            except SiraError as error:
                if self.problem is None:
                    _log.warning("cannot follow %s: %s", self.service, error)
                self.problem = error
                if isinstance(error, NotFoundError):
                    self._became(None)
                else:
                    self._connections_changed()
                await self._settings.clock.sleep(backoff.next(error.retry_after))

    def _became(self, view: ServiceView | None) -> None:
        self.view = view
        if view is not None:
            self.problem = None
        for follower in list(self._followers):
            follower.select()
        self.sync()
        self._connections_changed()

    async def _renew(self, renewed: Source[Any], known: object) -> None:
        while True:
            known = await renewed.changed(known)
            self.pool.renew()
            self._connections_changed()

    def _connections_changed(self) -> None:
        for follower in list(self._followers):
            follower.refresh()
