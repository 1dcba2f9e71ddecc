"""PeerService: what other members ask this one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Protocol

from sira.cluster.internal.v1 import peer_service_pb2 as pb
from sira.cluster.internal.v1 import peer_service_pb2_grpc as stubs
from sira.registry.v1.load_pb2 import EndpointLoad

from sira_grpc.rpc.call import Context
from sira_grpc.times import seconds


class OwnLoads(Protocol):
    """The loads that are reported to this member."""

    def follow(self) -> AsyncGenerator[list[EndpointLoad], None]:
        """Yields all of them at first, then what changes."""


class LocalDrains(Protocol):
    """The watchers of this member."""

    async def await_local(self, endpoints: Sequence[str], revision: int, patience: float) -> tuple[int, int]:
        """Waits until they were told that endpoints drain; returns how many were, and how many were not in time."""


class PeerServicer(stubs.PeerServiceServicer):
    """Each method is one read. See the proto."""

    def __init__(self, loads: OwnLoads, drains: LocalDrains) -> None:
        self._loads = loads
        self._drains = drains

    async def FollowLoads(
        self, request: pb.FollowLoadsRequest, context: Context
    ) -> AsyncIterator[pb.FollowLoadsResponse]:
        """See the proto."""
        async with aclosing(self._loads.follow()) as batches:
            async for batch in batches:
                yield pb.FollowLoadsResponse(loads=batch)

    async def AwaitDrain(self, request: pb.AwaitDrainRequest, context: Context) -> pb.AwaitDrainResponse:
        """See the proto."""
        notified, pending = await self._drains.await_local(
            request.endpoints, request.revision, seconds(request.patience)
        )
        return pb.AwaitDrainResponse(notified=notified, pending=pending)
