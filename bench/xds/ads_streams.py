"""Many ADS streams that acknowledge whatever comes: the clients of the benchmark, alike for every server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from grpc import aio

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


class AdsStreams:
    """Streams of which each is subscribed to the same resources.

    Args:
        opened: the channels that they are spread over.
        count: how many.
        node: who they are.
        wanted: types, each with the names that are asked for, in their order.
    """

    def __init__(
        self, opened: Sequence[Any], count: int, node: Node, wanted: Sequence[tuple[str, Sequence[str]]]
    ) -> None:
        self._wanted = wanted
        self._node = node
        self._names = dict(wanted)
        self._calls = [
            opened[i % len(opened)].stream_stream(METHOD, response_deserializer=DiscoveryResponse.FromString)()
            for i in range(count)
        ]
        self._acknowledged = 0
        self._target = 0
        self._reached = asyncio.Event()
        self._last = 0.0
        self.size = 0
        self.failed: list[str] = []
        self._readers = [asyncio.ensure_future(self._follow(call)) for call in self._calls]

    async def _follow(self, call: Any) -> None:
        try:
            node: Node | None = self._node
            for type_url, names in self._wanted:
                request = DiscoveryRequest(node=node, type_url=type_url, resource_names=names)
                await call.write(request.SerializeToString())
                node = None
            while (response := await call.read()) is not aio.EOF:
                await call.write(self._acknowledgement(response))
                self._count(response)
        except aio.AioRpcError as error:
            self.failed.append(f"{error.code().name}: {error.details()}")
            self._target -= 1
            self._look()

    def _acknowledgement(self, response: DiscoveryResponse) -> bytes:
        request = DiscoveryRequest(
            version_info=response.version_info,
            response_nonce=response.nonce,
            type_url=response.type_url,
            resource_names=self._names[response.type_url],
        )
        data: bytes = request.SerializeToString()
        return data

    def _count(self, response: DiscoveryResponse) -> None:
        self._acknowledged += 1
        if self._acknowledged == self._target:
            self.size = response.ByteSize()
        self._look()

    def _look(self) -> None:
        if self._acknowledged >= self._target and not self._reached.is_set():
            self._last = time.perf_counter()
            self._reached.set()

    def expect(self, each: int) -> None:
        """Sets what `arrived` waits for: so many further acknowledgements of every stream."""
        self._reached.clear()
        self._target = self._acknowledged + each * len(self._calls)

    async def arrived(self) -> float:
        """Returns when the last of them was written, on the performance counter."""
        await self._reached.wait()
        return self._last

    async def close(self) -> None:
        """Ends every stream."""
        for call in self._calls:
            call.cancel()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
