"""The kernel: opens the store, the subsystems and the server in order, and closes them in reverse. No logic."""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from sira.bus.v1.dead_letter_service_pb2_grpc import add_DeadLetterServiceServicer_to_server
from sira.bus.v1.publish_service_pb2_grpc import add_PublishServiceServicer_to_server
from sira.bus.v1.subscription_service_pb2_grpc import add_SubscriptionServiceServicer_to_server
from sira.bus.v1.topic_service_pb2_grpc import add_TopicServiceServicer_to_server
from sira.identity.v1.authority_service_pb2_grpc import add_AuthorityServiceServicer_to_server
from sira.identity.v1.identity_service_pb2_grpc import add_IdentityServiceServicer_to_server
from sira.kernel.v1.kernel_service_pb2_grpc import add_KernelServiceServicer_to_server
from sira.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from sira.registry.v1.resolver_service_pb2_grpc import add_ResolverServiceServicer_to_server

from sira_grpc import __version__
from sira_grpc.bundle_endpoint import BundleFetcher, BundleServer
from sira_grpc.bus import gauges as bus_gauges
from sira_grpc.bus.bus import Bus
from sira_grpc.clock import Clock, SystemClock
from sira_grpc.config import KernelConfig
from sira_grpc.identity import gauges as identity_gauges
from sira_grpc.identity.identity import Identity, open_identity
from sira_grpc.identity.member import reached_names
from sira_grpc.probes import ProberIdentity, make_prober
from sira_grpc.registry.gauges import expose
from sira_grpc.registry.registry import Registry
from sira_grpc.rpc.authority_servicer import AuthorityServicer
from sira_grpc.rpc.dead_letter_servicer import DeadLetterServicer
from sira_grpc.rpc.identity_servicer import IdentityServicer
from sira_grpc.rpc.kernel_servicer import KernelServicer
from sira_grpc.rpc.publish_servicer import PublishServicer
from sira_grpc.rpc.registry_servicer import RegistryServicer
from sira_grpc.rpc.resolver_servicer import ResolverServicer
from sira_grpc.rpc.server import Registration, RpcServer, ServerIdentity
from sira_grpc.rpc.subscription_servicer import SubscriptionServicer
from sira_grpc.rpc.topic_servicer import TopicServicer
from sira_grpc.store import open_sqlite
from sira_grpc.store.api import Store
from sira_grpc.telemetry import Telemetry, open_telemetry

MEMBER_BYTES = 5


class Kernel:
    """One member. An async context manager: inside the block it serves.

    Args:
        config: see KernelConfig.
        clock, rng, random_bytes: time and randomness; random_bytes must be unpredictable.

    Raises, on entering:
        ConfigError: an address is taken, or a file cannot be used.
        StoreUnavailable, StoreCorrupt: the data directory cannot be used.
    """

    def __init__(
        self,
        config: KernelConfig,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.config = config
        self.addresses: tuple[str, ...] = ()
        self.token_addresses: tuple[str, ...] = ()
        self.bundle_address = ""
        self.identity: Identity | None = None
        self.registry: Registry | None = None
        self.bus: Bus | None = None
        self.metrics_address = ""
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._random_bytes = random_bytes
        self._stack = AsyncExitStack()
        self._failures: list[asyncio.Event] = []

    async def __aenter__(self) -> Kernel:
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _open(self, stack: AsyncExitStack) -> None:
        config = self.config
        telemetry = await asyncio.to_thread(open_telemetry, config.telemetry, version=__version__)
        stack.push_async_callback(asyncio.to_thread, telemetry.close)
        self.metrics_address = telemetry.prometheus_address
        store = await open_sqlite(
            Path(config.store.data_dir), clock=self._clock, history_limit=config.store.history_limit
        )
        stack.push_async_callback(store.close)
        if config.identity.enabled:
            await self._open_identity(stack, store, telemetry)
        prober = make_prober(
            Path(config.probes.tls_ca_file) if config.probes.tls_ca_file else None, self._prober_identity()
        )
        stack.push_async_callback(prober.close)
        registry = self.registry = Registry(
            store,
            prober,
            config.registry,
            clock=self._clock,
            rng=self._rng,
            random_bytes=self._random_bytes,
            max_probes=config.probes.max_concurrent,
        )
        stack.push_async_callback(registry.close)
        await registry.start()
        self._failures.append(registry.failed)
        expose(registry, store, telemetry, self._clock)
        bus = await self._open_bus(stack, store, registry, telemetry)
        await self._serve(stack, store, registry, bus, telemetry)

    async def _open_bus(self, stack: AsyncExitStack, store: Store, registry: Registry, telemetry: Telemetry) -> Bus:
        bus = self.bus = Bus(
            store,
            registry.namespaces,
            self.config.bus,
            clock=self._clock,
            rng=self._rng,
            random_bytes=self._random_bytes,
            meter=telemetry.meter,
        )
        stack.push_async_callback(bus.close)
        await bus.start()
        registry.catalog.tenants.append(bus.tenant)
        self._failures += bus.failures
        bus_gauges.expose(bus, telemetry)
        return bus

    async def _open_identity(self, stack: AsyncExitStack, store: Store, telemetry: Telemetry) -> None:
        config = self.config.identity
        host = socket.gethostname()
        identity = self.identity = await open_identity(
            store,
            BundleFetcher(ca_file=Path(config.federation_ca_file) if config.federation_ca_file else None),
            config,
            host=host,
            names=reached_names((*self.config.server.addresses, *self.config.server.token_addresses), host),
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        stack.push_async_callback(identity.close)
        self._failures.append(identity.failed)
        identity_gauges.expose(identity, telemetry, self._clock)
        if config.bundle_address:
            bundles = BundleServer(config.bundle_address, identity.trust.document, identity.member.chain_and_key)
            stack.push_async_callback(bundles.stop)
            self.bundle_address = await bundles.start()

    def _prober_identity(self) -> ProberIdentity | None:
        identity = self.identity
        return None if identity is None else ProberIdentity(identity.trust.trust_domain, identity.member.read)

    async def _serve(
        self, stack: AsyncExitStack, store: Store, registry: Registry, bus: Bus, telemetry: Telemetry
    ) -> None:
        config = self.config
        addresses: list[str] = []
        member = self._random_bytes(MEMBER_BYTES).hex()
        kernel_servicer = KernelServicer(store, registry, self._clock, member=member, addresses=addresses)
        registry_servicer = RegistryServicer(registry, default_lease_ttl=config.registry.default_lease_ttl)
        servicers: list[Registration] = [
            (add_KernelServiceServicer_to_server, kernel_servicer),
            (add_RegistryServiceServicer_to_server, registry_servicer),
            (add_ResolverServiceServicer_to_server, ResolverServicer(registry)),
            (add_TopicServiceServicer_to_server, TopicServicer(bus)),
            (add_PublishServiceServicer_to_server, PublishServicer(bus)),
            (add_SubscriptionServiceServicer_to_server, SubscriptionServicer(bus)),
            (add_DeadLetterServiceServicer_to_server, DeadLetterServicer(bus)),
        ]
        identity = self.identity
        if identity is not None:
            servicers += [
                (add_IdentityServiceServicer_to_server, IdentityServicer(identity)),
                (add_AuthorityServiceServicer_to_server, AuthorityServicer(identity)),
            ]
        server = RpcServer(
            config,
            servicers,
            telemetry=telemetry,
            clock=self._clock,
            rng=self._rng,
            new_id=lambda: self._random_bytes(8).hex(),
            identity=ServerIdentity(identity.callers, identity.member.read) if identity is not None else None,
        )
        self._failures.append(server.failed)
        stack.push_async_callback(server.stop)
        stack.callback(registry.stopping)  # before the server ends its streams
        stack.callback(bus.stopping)
        await server.start()
        addresses.extend(server.addresses)
        self.addresses, self.token_addresses = server.addresses, server.token_addresses
        server.serving()

    async def run_until_signal(self) -> None:
        """Returns on SIGTERM or SIGINT, or when a part of the kernel has failed, which its log tells."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        failed = asyncio.ensure_future(self._failed())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in (failed, stopped):
                future.cancel()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    @property
    def failed(self) -> bool:
        """Whether a part of the kernel has ended that must not: it should be stopped and started again."""
        return any(failed.is_set() for failed in self._failures)

    async def _failed(self) -> None:
        """Returns when any of them has."""
        waiting = [asyncio.ensure_future(failed.wait()) for failed in self._failures]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                future.cancel()
