"""A real kernel whose services a test changes, and streams of clients that are told of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import aio
from sira.registry.v1 import registry_service_pb2 as pb
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.route_pb2 import Destination, Route, Split
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.config import KernelConfig, ServerConfig, XdsConfig
from sira_grpc.kernel import Kernel
from sira_grpc.xds.type_urls import ROUTES
from tests.integration.registry_kernel import Running
from tests.integration.xds_client import PATIENCE, Mode, XdsClient, opened
from tests.kernel_store import store_config

LONG = Duration(seconds=3600)
"""A lease that outlives any test."""
AT_ONCE = 400
"""Endpoints that one request may register."""
OTHER = "other"
"""A namespace besides `default`."""


class XdsKernel(Running):
    """A kernel and a connection to it. Services are named as clients of xDS name them: `{service}.{namespace}`."""

    def __init__(self, kernel: Kernel, channel: aio.Channel) -> None:
        super().__init__(kernel, channel)
        self._numbers = itertools.count(1)

    @property
    def address(self) -> str:
        return self.kernel.addresses[0]

    def client(
        self, mode: Mode, node: Any = None, *, type_url: str | None = None
    ) -> AbstractAsyncContextManager[XdsClient]:
        """Opens a stream, of all types or of one."""
        return opened(self.channel, mode, node, type_url=type_url)

    async def service(self, *endpoints: str, name: str = "") -> str:
        """Creates a service with endpoints of these ids, and returns its name: a new one, if none is given."""
        name = name or f"service-{next(self._numbers)}.default"
        await self.registry.CreateService(pb.CreateServiceRequest(service=Service(name=resource_name(name))))
        if endpoints:
            await self.add(name, *endpoints)
        return name

    async def add(self, name: str, *ids: str, **fields: Any) -> None:
        """Registers endpoints, each at an address made of its id."""
        endpoints = [
            Endpoint(name=endpoint_name(name, id_), addresses=[address_of(id_)], port=50051, **fields) for id_ in ids
        ]
        for first in range(0, len(endpoints), AT_ONCE):
            batch = endpoints[first : first + AT_ONCE]
            await self.registry.RegisterEndpoints(pb.RegisterEndpointsRequest(endpoints=batch, lease_ttl=LONG))

    async def label(self, name: str, id_: str, **labels: str) -> None:
        """Labels an endpoint."""
        endpoint, mask = Endpoint(name=endpoint_name(name, id_), metadata=labels), FieldMask(paths=["metadata"])
        await self.registry.UpdateEndpoint(pb.UpdateEndpointRequest(endpoint=endpoint, update_mask=mask))

    async def take(self, name: str, id_: str) -> None:
        """Deletes an endpoint."""
        await self.registry.DeleteEndpoint(pb.DeleteEndpointRequest(name=endpoint_name(name, id_)))

    async def drain(self, name: str, id_: str) -> None:
        """Drains an endpoint, without waiting for its calls."""
        await self.registry.Drain(pb.DrainRequest(names=[endpoint_name(name, id_)], timeout=Duration()))

    async def policy(self, name: str, **policy: Any) -> None:
        """Gives a service a traffic policy."""
        service = Service(name=resource_name(name), traffic_policy=TrafficPolicy(**policy))
        await self._update(service, "traffic_policy")

    async def timeout(self, name: str, seconds: int) -> None:
        """Changes how long calls may take: the routes of a service, and nothing else."""
        await self.policy(name, timeout=Duration(seconds=seconds))

    async def describe(self, name: str, description: str) -> None:
        """Changes what no client is told."""
        await self._update(Service(name=resource_name(name), description=description), "description")

    async def delete(self, name: str) -> None:
        """Deletes a service and what is in it."""
        await self.registry.DeleteService(pb.DeleteServiceRequest(name=resource_name(name), force=True))

    async def still(self, client: XdsClient, type_url: str = ROUTES) -> None:
        """Makes sure that nothing that has changed before is news to a client."""
        name = await client.quiet(type_url)
        await self.service(name=name)
        answer = await client.told(type_url)
        assert set(answer.resources) == {name}, answer
        assert not answer.gone

    def count(self) -> int:
        """How many streams are open."""
        assert self.kernel.xds is not None
        return len(self.kernel.xds.streams.streams)

    async def settled(self) -> None:
        """Returns once no stream is open."""
        async with asyncio.timeout(PATIENCE):
            while self.count():
                # The kernel learns that a client is gone when it has read that from the connection.
                await self.status()

    async def _update(self, service: Service, *fields: str) -> None:
        await self.registry.UpdateService(pb.UpdateServiceRequest(service=service, update_mask=FieldMask(paths=fields)))


@asynccontextmanager
async def running(path: Path, *, drain_grace: float = 5, **xds: Any) -> AsyncIterator[XdsKernel]:
    """Runs a kernel on a data directory, with a namespace besides the default one."""
    config = KernelConfig(
        server=ServerConfig(addresses=("127.0.0.1:0",), drain_grace=drain_grace),
        store=store_config(path),
        xds=XdsConfig(**xds),
    )
    async with Kernel(config) as kernel, aio.insecure_channel(kernel.addresses[0]) as channel:
        made = XdsKernel(kernel, channel)
        assert kernel.registry is not None
        if f"namespaces/{OTHER}" not in kernel.registry.view.namespaces:
            namespace = Namespace(name=f"namespaces/{OTHER}")
            await made.registry.CreateNamespace(pb.CreateNamespaceRequest(namespace=namespace))
        yield made


def resource_name(name: str) -> str:
    """The name in the registry of `{service}.{namespace}`."""
    service, _, namespace = name.partition(".")
    return f"namespaces/{namespace}/services/{service}"


def endpoint_name(name: str, id_: str) -> str:
    """The name in the registry of an endpoint of `{service}.{namespace}`."""
    return f"{resource_name(name)}/endpoints/{id_}"


def address_of(id_: str) -> str:
    """The address of an endpoint: `e7` is at 10.0.0.7."""
    number = int(id_.lstrip("e"))
    return f"10.0.{number >> 8}.{number & 255}"


def split(**weights: int) -> list[Route]:
    """Routes that split all calls between versions of a service."""
    splits = [Split(weight=weight, destination=Destination(version=version)) for version, weight in weights.items()]
    return [Route(splits=splits)]
