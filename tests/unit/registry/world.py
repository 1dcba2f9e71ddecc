"""A registry on the real store, on time that stands still, with probes that answer what a test tells them to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from sira.registry.v1.endpoint_pb2 import Endpoint, EndpointStatus
from sira.registry.v1.event_pb2 import Event, EventType
from sira.registry.v1.health_check_pb2 import HealthCheck, HealthState, TcpCheck, TtlCheck
from sira.registry.v1.resolver_service_pb2 import ResolveRequest, ResolveResponse
from sira.registry.v1.service_pb2 import Service

from sira_grpc.config import RegistryConfig
from sira_grpc.placement import Alone, Placement
from sira_grpc.registry.peers import NoPeers, Peers
from sira_grpc.registry.probe_api import ProbeResult
from sira_grpc.registry.registry import Registry
from sira_grpc.store import Commit, Op, Store, open_sqlite
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import FakeClock

DEFAULT = "namespaces/default"
SERVICE = f"{DEFAULT}/services/web"
SERVING = HealthState.HEALTH_STATE_SERVING
NOT_SERVING = HealthState.HEALTH_STATE_NOT_SERVING


class ToldProber:
    """Answers every probe with what it was told of that endpoint; SERVING where it was told nothing."""

    def __init__(self) -> None:
        self.answers: dict[str, HealthState.ValueType] = {}
        self.probed: list[str] = []

    async def probe(self, endpoint: Endpoint) -> ProbeResult:
        self.probed.append(endpoint.name)
        return ProbeResult(self.answers.get(endpoint.name, SERVING), "told", authoritative=True)

    def follow(self, endpoint: Endpoint) -> AsyncGenerator[ProbeResult, None] | None:
        return None

    def release(self, endpoint: Endpoint) -> None:
        self.answers.pop(endpoint.name, None)

    async def close(self) -> None:
        self.answers.clear()


def seeded_bytes(seed: int) -> Callable[[int], bytes]:
    """Random bytes that are the same in every run: no test depends on chance."""
    return random.Random(seed).randbytes


class GatedStore:
    """The real store, whose commits a test can hold up, or have fail."""

    def __init__(self, store: SqliteStore, *, shared: bool = False) -> None:
        self._store = store
        self.shared = shared
        self.visible = asyncio.Event()
        self.visible.set()
        self.failures: list[Exception] = []
        self._gate = asyncio.Event()
        self._gate.set()
        self._arrived = asyncio.Event()

    def shut(self) -> None:
        """Holds up commits from here on."""
        self._gate.clear()
        self._arrived.clear()

    def open(self) -> None:
        self._gate.set()

    async def arrived(self) -> None:
        """Returns when a commit has come to the gate since it was shut."""
        await self._arrived.wait()
        self._arrived.clear()

    @property
    def revision(self) -> int:
        return self._store.revision

    async def commit(self, ops: Sequence[Op]) -> int:
        self._arrived.set()
        await self._gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        return await self._store.commit(ops)

    async def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Commit, None]:
        async with aclosing(self._store.watch(prefix, after=after)) as commits:
            async for commit in commits:
                await self.visible.wait()
                yield commit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class World:
    """One registry and what is around it. restart() goes on from the same store, as a kernel does."""

    def __init__(self, path: Path, clock: FakeClock, config: RegistryConfig) -> None:
        self.path = path
        self.clock = clock
        self.config = config
        self.prober = ToldProber()
        self.store: GatedStore
        self.registry: Registry
        self.placement: Placement = Alone()
        self.peers: Peers = NoPeers()
        self._random_bytes = seeded_bytes(1)

    async def open_store(self) -> GatedStore:
        return GatedStore(await open_sqlite(self.path, clock=self.clock))

    async def start(self) -> None:
        self.store = await self.open_store()
        self.registry = Registry(
            cast(Store, self.store),
            self.prober,
            self.config,
            clock=self.clock,
            rng=random.Random(1),
            random_bytes=self._random_bytes,
            max_probes=64,
            placement=self.placement,
            peers=self.peers,
        )
        await self.registry.start()

    async def stop(self) -> None:
        self.store.open()
        await self.registry.close()
        await self.store.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def settled(self) -> None:
        """Returns when what is written behind is in the store, and the view shows it."""
        for pending in (self.registry.keeper.suspects, self.registry._health_writer.pending):
            await pending.flush()

    async def sweep(self, *, after: float = 0.0) -> None:
        """Moves time and lets leases expire."""
        self.clock.advance(after)
        await self.registry.expiry.sweep()
        await self.settled()

    async def turns(self) -> None:
        """Lets every task that can go on without the store go on."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def register(self, *endpoints: Endpoint, ttl: float = 15.0) -> str:
        """Registers endpoints under a new lease and returns its key."""
        done = await self.registry.registrar.register_under_new_lease(
            endpoints, ttl=ttl, allow_missing_service=True, actor="test"
        )
        return done.lease_key

    async def service(self, name: str = SERVICE) -> None:
        await self.registry.catalog.create_service(Service(name=name), actor="test")

    def resolve(self, service: str = SERVICE, *, include_unhealthy: bool = False) -> ResolveResponse:
        return self.registry.resolver.resolve(ResolveRequest(service=service, include_unhealthy=include_unhealthy))

    def resolved(self, service: str = SERVICE) -> set[str]:
        """The ids of the endpoints that a caller would get."""
        return {e.name.rpartition("/")[2] for e in self.resolve(service).endpoints}

    def registered(self, service: str = SERVICE) -> set[str]:
        """The ids of the endpoints that are there."""
        return {name.rpartition("/")[2] for name in self.registry.view.services[service].endpoints}

    def state(self, id_: str = "a", service: str = SERVICE) -> EndpointStatus:
        return self.registry.view.endpoint(f"{service}/endpoints/{id_}").message.status

    def events(self, kind: EventType.ValueType, resource: str = "") -> list[Event]:
        found = self.registry.events.latest(below=0, resource=resource)
        return [event for _, event in found if event.type == kind]


def endpoint(id_: str = "a", *, service: str = SERVICE, port: int = 80, check: str = "", weight: int = 0) -> Endpoint:
    """An endpoint at an address of its own."""
    message = Endpoint(
        name=f"{service}/endpoints/{id_}", addresses=[f"{id_}.{service.rpartition('/')[2]}"], port=port, weight=weight
    )
    if check == "tcp":
        message.health_check.CopyFrom(HealthCheck(tcp=TcpCheck()))
    elif check == "ttl":
        message.health_check.CopyFrom(HealthCheck(ttl=TtlCheck()))
        message.health_check.ttl.ttl.FromSeconds(5)
    return message
