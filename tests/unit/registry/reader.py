"""What a client makes of a Watch."""

from __future__ import annotations

from collections.abc import Callable

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.resolver_service_pb2 import WatchRequest, WatchResponse
from sira.registry.v1.service_pb2 import Service

from tests.unit.registry.world import SERVICE, World


class Reader:
    """The service and its endpoints as they were told, and the revision to resume with."""

    def __init__(self, world: World, *, start: int = 0) -> None:
        request = WatchRequest(service=SERVICE, start_revision=start)
        self._messages = world.registry.watching.follow(request)
        self._partial: dict[str, Endpoint] = {}
        self.revision = start
        self.service: Service | None = None
        self.endpoints: dict[str, Endpoint] = {}

    async def read(self) -> WatchResponse:
        response = WatchResponse.FromString(await anext(self._messages))
        match response.WhichOneof("event"):
            case "snapshot":
                if response.snapshot.HasField("service"):
                    self.service, self._partial = response.snapshot.service, {}
                self._partial |= {e.name: e for e in response.snapshot.endpoints}
                if not response.snapshot.more:
                    self.endpoints = self._partial
            case "changes":
                if response.changes.HasField("service"):
                    self.service = response.changes.service
                self.endpoints |= {e.name: e for e in response.changes.upserted}
                for name in response.changes.deleted:
                    self.endpoints.pop(name, None)
        self.revision = max(self.revision, response.revision)
        return response

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.read()

    def sees(self, world: World) -> bool:
        entry = world.registry.view.services[SERVICE]
        return self.endpoints == {n: e.message for n, e in entry.endpoints.items()}

    async def catch_up(self, world: World) -> None:
        """Reads until nothing is left to be read."""
        feed = world.registry.view.services[SERVICE].feed
        while self.revision < feed.revision:
            await self.read()

    async def close(self) -> None:
        await self._messages.aclose()
