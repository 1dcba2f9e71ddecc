"""Changes of a service: its endpoints come, go, drain and weigh otherwise; its routes and clusters are written anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sira.registry.v1 import registry_service_pb2 as registry
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.retry_policy_pb2 import RetryOn
from sira.registry.v1.route_pb2 import Route, Split
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TrafficPolicy

from bench.registry import messages
from bench.xds.echo_servers import EchoServers

SERVICE = "churned"
VERSIONS = ("1.0", "2.0")
FEWEST, MOST = 2, 5
"""Endpoints of a version that take calls."""
LINGER_SECONDS = 1.0
"""How long a server goes on after its endpoint was removed."""
SEED = 6


@dataclass(slots=True)
class _Served:
    """An endpoint and its server."""

    name: str
    port: int
    version: str
    draining: bool = False


class Changes:
    """Makes them, the same ones in every run.

    Args:
        channel: to the kernel.
        servers: the servers of the endpoints.
    """

    def __init__(self, channel: Any, servers: EchoServers) -> None:
        self._channel = channel
        self._servers = servers
        self._random = random.Random(SEED)
        self._endpoints: list[_Served] = []
        self._numbers = 0
        self._lease_key = ""
        self._policy = TrafficPolicy()
        self._leaving: set[asyncio.Task[None]] = set()
        self._kinds: list[Callable[[], Awaitable[None]]] = [
            *(self._add, self._remove, self._drain, self._weigh),
            *(self._shift, self._retry, self._limit_time, self._match),
            *(self._break, self._balance),
        ]

    async def begin(self) -> None:
        """Registers the service with its first endpoints, and a split between its versions."""
        for version in VERSIONS * FEWEST:
            await self._register(version)
        await self._shift()

    async def make(self) -> None:
        """Makes one change, of a kind drawn by lot."""
        await self._random.choice(self._kinds)()

    async def settle(self) -> None:
        """Returns when the last server that was to stop has stopped.

        Raises: what has gone wrong with one.
        """
        await asyncio.gather(*self._leaving)

    async def _ask(self, method: str, request: bytes) -> bytes:
        answer: bytes = await self._channel.unary_unary(messages.REGISTRY + method)(request)
        return answer

    # Endpoints.

    async def _add(self) -> None:
        version = min(VERSIONS, key=lambda each: len(self._taking(each)))
        if len(self._taking(version)) >= MOST:
            await self._remove()
        else:
            await self._register(version)

    async def _register(self, version: str) -> None:
        self._numbers += 1
        name = f"{messages.service(SERVICE)}/endpoints/e{self._numbers}"
        served = _Served(name, await self._servers.start(f"e{self._numbers}"), version)
        endpoint = Endpoint(name=name, addresses=["127.0.0.1"], port=served.port, version=version)
        answer = await self._ask("RegisterEndpoints", messages.register([endpoint], lease_key=self._lease_key))
        self._lease_key = self._lease_key or registry.RegisterEndpointsResponse.FromString(answer).lease_key
        self._endpoints.append(served)

    async def _remove(self) -> None:
        """Removes one that is draining, or the oldest of the version that has most; its server goes on for a while."""
        gone = next((each for each in self._endpoints if each.draining), None) or self._spare()
        if gone is None:
            await self._add()
            return
        request = registry.DeregisterEndpointsRequest(lease_key=self._lease_key, names=[gone.name])
        await self._ask("DeregisterEndpoints", request.SerializeToString())
        self._endpoints.remove(gone)
        leaving = asyncio.create_task(self._stop(gone.port))
        self._leaving.add(leaving)

    async def _stop(self, port: int) -> None:
        await asyncio.sleep(LINGER_SECONDS)
        await self._servers.stop(port)

    async def _drain(self) -> None:
        drained = self._spare()
        if drained is None:
            await self._add()
            return
        request = registry.DrainRequest(names=[drained.name], cause="bench")
        request.timeout.seconds = 0
        await self._ask("Drain", request.SerializeToString())
        drained.draining = True

    async def _weigh(self) -> None:
        name = self._random.choice([each.name for each in self._endpoints])
        endpoint = Endpoint(name=name, weight=self._random.randint(50, 150))
        request = registry.UpdateEndpointRequest(endpoint=endpoint)
        request.update_mask.paths.append("weight")
        await self._ask("UpdateEndpoint", request.SerializeToString())

    def _taking(self, version: str) -> list[_Served]:
        return [each for each in self._endpoints if each.version == version and not each.draining]

    def _spare(self) -> _Served | None:
        taking = max((self._taking(version) for version in VERSIONS), key=len)
        return taking[0] if len(taking) > FEWEST else None

    # Routes.

    async def _shift(self) -> None:
        share = self._random.choice((0, 1, 10, 50, 90, 100))
        del self._policy.routes[-1:]
        route = self._policy.routes.add()
        for version, weight in zip(VERSIONS, (100 - share, share), strict=True):
            split = Split(weight=weight)
            split.destination.version = version
            route.splits.append(split)
        await self._write()

    async def _retry(self) -> None:
        # What a change might do to a call must show: it is not among what is tried again.
        self._policy.retry.retry_on[:] = [RetryOn.RETRY_ON_RESOURCE_EXHAUSTED]
        self._policy.retry.max_attempts = self._random.randint(2, 5)
        await self._write()

    async def _limit_time(self) -> None:
        self._policy.timeout.seconds = self._random.randint(20, 30)
        await self._write()

    async def _match(self) -> None:
        """Puts a route in front of the last one that the calls do not take, or takes it away."""
        if len(self._policy.routes) > 1:
            del self._policy.routes[0]
        else:
            other = Route()
            other.matches.add(path_exact="/mesh.Echo/Other")
            self._policy.routes.insert(0, other)
        await self._write()

    # Clusters.

    async def _break(self) -> None:
        self._policy.circuit_breakers.max_requests = self._random.randint(1_000, 2_000)
        await self._write()

    async def _balance(self) -> None:
        weighted = self._policy.lb_policy == LbPolicy.LB_POLICY_WEIGHTED
        self._policy.lb_policy = LbPolicy.LB_POLICY_ROUND_ROBIN if weighted else LbPolicy.LB_POLICY_WEIGHTED
        await self._write()

    async def _write(self) -> None:
        service = Service(name=messages.service(SERVICE), traffic_policy=self._policy)
        request = registry.UpdateServiceRequest(service=service)
        request.update_mask.paths.append("traffic_policy")
        await self._ask("UpdateService", request.SerializeToString())
