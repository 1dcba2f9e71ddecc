"""Streams over which Envoys take all that there is, and keep it: the clients of the benchmark of memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3 import discovery_pb2 as discovery
from grpc import aio

from sira_grpc.xds.names import EGRESS
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
AT_ONCE = 16
"""Streams that are opened at the same time."""
EXTENSIONS = 500
EGRESS_PORT = 15_001


class EnvoyStreams:
    """Streams that acknowledge whatever comes.

    Args:
        opened: the channels that they are spread over.
        clusters: names of all there are.
        delta: whether they take changes, and not states of the world.

    Attributes:
        bytes: what one of them was sent, to begin with.
        pushed: the largest response that one was sent since.
    """

    def __init__(self, opened: Sequence[Any], clusters: Sequence[str], *, delta: bool) -> None:
        self._opened = opened
        # In the order of an Envoy. It asks for all clusters and listeners, and by name for what they refer to.
        self._wanted = {CLUSTER: [], ENDPOINTS: clusters, LISTENER: [], ROUTES: [EGRESS]}
        self._delta = delta
        self._opening = asyncio.Semaphore(AT_ONCE)
        self._followers: list[asyncio.Task[None]] = []
        self._acknowledged = 0
        self._more = asyncio.Condition()
        self.bytes = self.pushed = 0

    async def open(self, count: int) -> None:
        """Opens so many. Returns when each has acknowledged all there is."""
        await asyncio.gather(*(self._open(number) for number in range(count)))

    async def _open(self, number: int) -> None:
        channel = self._opened[number % len(self._opened)]
        async with self._opening:
            call = channel.stream_stream(SERVICE + ("Delta" if self._delta else "Stream") + "AggregatedResources")()
            size = 0
            for type_url, names in self._wanted.items():
                await call.write(self._first(type_url, names, number))
                size += await self._take(call)
            self.bytes = size
            self._followers.append(asyncio.create_task(self._follow(call)))

    async def _take(self, call: Any) -> int:
        """Reads a response and acknowledges it. Returns its size."""
        data = await call.read()
        if data is aio.EOF:
            raise RuntimeError(f"a stream has ended: {await call.code()}: {await call.details()}")
        await call.write(self._acknowledgement(data))
        return len(data)

    async def _follow(self, call: Any) -> None:
        try:
            while True:
                size = await self._take(call)
                self.pushed = max(self.pushed, size)
                async with self._more:
                    self._acknowledged += 1
                    self._more.notify_all()
        finally:
            call.cancel()

    async def acknowledged(self, count: int) -> None:
        """Returns when so many further responses than the first ones have been acknowledged, by all together."""
        async with self._more:
            await self._more.wait_for(lambda: self._acknowledged >= count)

    async def close(self) -> None:
        """Ends them.

        Raises:
            RuntimeError: one had ended by itself.
        """
        for follower in self._followers:
            follower.cancel()
        for end in await asyncio.gather(*self._followers, return_exceptions=True):
            if isinstance(end, Exception):
                raise RuntimeError("a stream has ended") from end

    def _first(self, type_url: str, names: Sequence[str], number: int) -> bytes:
        node = _node(number) if type_url == CLUSTER else None
        if self._delta:
            request = discovery.DeltaDiscoveryRequest(node=node, type_url=type_url, resource_names_subscribe=names)
        else:
            request = discovery.DiscoveryRequest(node=node, type_url=type_url, resource_names=names)
        data: bytes = request.SerializeToString()
        return data

    def _acknowledgement(self, data: bytes) -> bytes:
        if self._delta:
            delta = discovery.DeltaDiscoveryResponse.FromString(data)
            request = discovery.DeltaDiscoveryRequest(type_url=delta.type_url, response_nonce=delta.nonce)
        else:
            state = discovery.DiscoveryResponse.FromString(data)
            request = discovery.DiscoveryRequest(
                version_info=state.version_info,
                response_nonce=state.nonce,
                type_url=state.type_url,
                resource_names=self._wanted[state.type_url],
            )
        acknowledgement: bytes = request.SerializeToString()
        return acknowledgement


def _node(number: int) -> Node:
    """What an Envoy says of itself: some 60 KB, most of it the names of its extensions."""
    node = Node(id=f"envoy-{number}", cluster=f"s{number}.default", user_agent_name="envoy")
    node.locality.region, node.locality.zone = "eu-west", f"eu-west-{number % 3}"
    node.metadata.get_or_create_struct("sira")["egress_port"] = EGRESS_PORT
    for extension in range(EXTENSIONS):
        known = node.extensions.add(name=f"envoy.filters.http.extension_{extension}", category="envoy.filters.http")
        known.type_urls.append(f"envoy.extensions.filters.http.extension_{extension}.v3.Extension{extension}")
    return node
