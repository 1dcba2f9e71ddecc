"""Watches a service on one member, through its deaths, and knows what that member says is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio
from sira.registry.v1.resolver_service_pb2 import WatchRequest, WatchResponse
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from tests.faults.load import AGAIN_SECONDS
from tests.faults.meter import Meter

COMPACTED = "REVISION_COMPACTED"
NOT_THERE = "SERVICE_NOT_FOUND"


class EndpointWatch:
    """One watch.

    Args:
        member: number of the member that is asked.
        channel: to it.
        service: what is watched.
        meter: counts.
        changed: called with this, after what is there has changed.

    Attributes:
        there: names of the endpoints that the member has told of; None before it has told anything.
    """

    def __init__(
        self, member: int, channel: aio.Channel, service: str, meter: Meter, changed: Callable[[EndpointWatch], None]
    ) -> None:
        self.member = member
        self.service = service
        self.there: set[str] | None = None
        self._channel = channel
        self._meter = meter
        self._changed = changed
        self._revision = 0
        self._parts: set[str] = set()

    async def run(self) -> None:
        """Watches until it is cancelled, from where it was."""
        while True:
            request = WatchRequest(service=self.service, start_revision=self._revision)
            call: Any = ResolverServiceStub(self._channel).Watch(request)
            try:
                async for response in call:
                    self._take(response)
            except grpc.aio.AioRpcError as error:
                reason = self._meter.failed("watch a service", error)
                if reason == COMPACTED:
                    self._revision = 0
            finally:
                call.cancel()
            await asyncio.sleep(AGAIN_SECONDS)

    def _take(self, response: WatchResponse) -> None:
        if response.revision < self._revision:
            told = f"{self.service} on member {self.member + 1}: {response.revision} after {self._revision}"
            self._meter.findings.violation("a watch went back", told)
        if response.HasField("snapshot"):
            self._parts |= {endpoint.name for endpoint in response.snapshot.endpoints}
            if response.snapshot.more:
                return
            self.there, self._parts = self._parts, set()
        elif response.HasField("changes"):
            assert self.there is not None, "changes come after a snapshot"
            self.there |= {endpoint.name for endpoint in response.changes.upserted}
            self.there -= set(response.changes.deleted)
        self._revision = response.revision
        self._meter.succeeded("watch a service")
        self._changed(self)
