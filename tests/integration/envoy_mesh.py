"""Sidecars as processes of their own, the services beside them, and calls through them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.resolver_service_pb2 import WatchRequest
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from sira_grpc.nats_server import free_ports
from tests.integration import envoy_app
from tests.integration.envoy import ENVOY, PATIENCE
from tests.integration.registry_kernel import View
from tests.integration.sira_process import SiraProcess

__all__ = ["Calls", "app", "calling", "endpoints", "free_ports", "sidecar"]


def app(port: int, name: str) -> list[str]:
    """The command line of a service."""
    return [sys.executable, envoy_app.__file__, str(port), name]


def sidecar(address: str, service: str, *arguments: str, environment: dict[str, str] | None = None) -> SiraProcess:
    """Starts a sidecar of a service at the kernel with an address."""
    options = [
        "--addr",
        address,
        "-o",
        "json",
        "--service",
        service,
        "--envoy",
        str(ENVOY),
        "--check-interval",
        "200ms",
    ]
    return SiraProcess("sidecar", *options, *arguments, environment=environment)


class Calls:
    """Calls to a service, at the egress port of a sidecar or at the service itself."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def start(self, method: str) -> Any:
        """Begins a call of the app's methods; its result is text."""
        call = self._channel.unary_unary(
            f"/{envoy_app.SERVICE}/{method}", request_serializer=None, response_deserializer=lambda data: data.decode()
        )
        return call(b"", timeout=PATIENCE)

    async def __call__(self, method: str = "Who") -> str:
        """Makes a call and returns its result."""
        return str(await self.start(method))

    async def refusal(self, method: str = "Who") -> tuple[grpc.StatusCode, str]:
        """Makes a call that must fail, and returns how."""
        try:
            answer = await self(method)
        except aio.AioRpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError(f"the call went through: {answer}")

    async def until(self, good: Callable[[str], bool], method: str = "Who") -> None:
        """Calls until the result, or the name of the status, is as it should be."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await self(method)
                except aio.AioRpcError as error:
                    answer = error.code().name
                if good(answer):
                    return


@asynccontextmanager
async def calling(port: int, authority: str) -> AsyncIterator[Calls]:
    """Calls by a name, at a loopback port."""
    options = (("grpc.default_authority", authority), ("grpc.use_local_subchannel_pool", 1))
    async with aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield Calls(channel)


@asynccontextmanager
async def endpoints(channel: Any, service: str) -> AsyncIterator[Callable[[Callable[[list[Endpoint]], bool]], Any]]:
    """Yields what waits until the endpoints of a service are as they should be."""
    resolver: Any = ResolverServiceStub(channel)
    view = View(resolver.Watch(WatchRequest(service=service)))

    async def until(good: Callable[[list[Endpoint]], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            await view.until(lambda known: good(list(known.values())))

    try:
        yield until
    finally:
        view.stream.cancel()
