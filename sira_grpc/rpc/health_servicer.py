"""grpc.health.v1: NOT_SERVING until the kernel is ready, while its store is lost, and when it stops.

The servicer of grpcio-health-checking is not used because its watchers write while they hold the lock that a change of
state needs: one client that does not read would hold up the drain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sira_grpc.errors import KernelStopping
from sira_grpc.rpc.call import Context

SERVICE = "grpc.health.v1.Health"


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpcio-health-checking has no types
    """Says how the kernel is, the same for each of its services and for `""`, the server as a whole."""

    def __init__(self) -> None:
        self._services = {""}
        self._status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._stopping: KernelStopping | None = None
        # Replaced with each change: those that wait hold the one of their time.
        self._changed = asyncio.Event()

    def cover(self, services: Iterable[str]) -> None:
        """Adds services that it speaks for."""
        self._services.update(services)

    def serving(self) -> None:
        """Turns everything SERVING. Does nothing once it has stopped."""
        self._turn(health_pb2.HealthCheckResponse.SERVING)

    def lost(self) -> None:
        """Turns everything NOT_SERVING, until it is SERVING again: the store is lost. Reads go on being answered."""
        self._turn(health_pb2.HealthCheckResponse.NOT_SERVING)

    def stop(self, stopping: KernelStopping) -> None:
        """Turns everything NOT_SERVING for good; watches are told so and then end with the error."""
        self._stopping = stopping
        self._change(health_pb2.HealthCheckResponse.NOT_SERVING)

    def _turn(self, status: int) -> None:
        if self._stopping is None and self._status != status:
            self._change(status)

    def _change(self, status: int) -> None:
        self._status = status
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Answers with the state of a service; NOT_FOUND if it is not one of ours."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Streams the state of a service, at once and whenever it changes; a slow reader gets the latest."""
        if request.service not in self._services:
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        told = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        while True:
            changed, stopping = self._changed, self._stopping
            if request.service in self._services and told != self._status:
                told = self._status
                yield health_pb2.HealthCheckResponse(status=told)
                continue
            if stopping is not None:
                raise stopping
            await changed.wait()

    async def List(self, request: health_pb2.HealthListRequest, context: Context) -> health_pb2.HealthListResponse:
        """Answers with the state of every service."""
        answer = health_pb2.HealthCheckResponse(status=self._status)
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._services, answer))
