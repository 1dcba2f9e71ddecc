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

from sira_grpc import __version__
from sira_grpc.bus import gauges as bus_gauges
from sira_grpc.bus.bus import Bus
from sira_grpc.clock import Clock, SystemClock
from sira_grpc.cluster import gauges as cluster_gauges
from sira_grpc.cluster import lock_gauges
from sira_grpc.cluster.cluster import Cluster
from sira_grpc.cluster.locking import Locking
from sira_grpc.config import KernelConfig
from sira_grpc.identity import gauges as identity_gauges
from sira_grpc.identity.identity import Identity, open_identity
from sira_grpc.identity.member import reached_names
from sira_grpc.identity.members import Members
from sira_grpc.probes import ProberIdentity, make_prober
from sira_grpc.registry.gauges import expose
from sira_grpc.registry.registry import Registry
from sira_grpc.rpc.forwarding import Forwarding, MemberTrust, PeerIdentity
from sira_grpc.rpc.kernel_servicer import KernelServicer
from sira_grpc.rpc.registrations import Served, registrations
from sira_grpc.rpc.server import RpcServer, ServerIdentity
from sira_grpc.store import open_store
from sira_grpc.store.api import Store
from sira_grpc.telemetry import Telemetry, open_telemetry
from sira_grpc.xds import gauges as xds_gauges
from sira_grpc.xds.control_plane import ControlPlane

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
        self.xds: ControlPlane | None = None
        self.bus: Bus | None = None
        self.cluster: Cluster | None = None
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
        store = await open_store(config.store, clock=self._clock, random_bytes=self._random_bytes)
        stack.push_async_callback(store.close)
        cluster = await self._open_cluster(stack, store, telemetry)
        if config.identity.enabled:
            await self._open_identity(stack, store, cluster, telemetry)
        forwarding = self._make_forwarding(stack, cluster) if store.shared else None
        registry = await self._open_registry(stack, store, cluster, forwarding, telemetry)
        xds = self._open_xds(stack, cluster, registry, telemetry)
        bus = await self._open_bus(stack, store, cluster, registry, forwarding, telemetry)
        locking = await self._open_locking(stack, store, cluster, registry)
        lock_gauges.expose(locking, telemetry)
        cluster.serves(
            bus_namespaces=lambda: len(bus.owned_namespaces),
            leases=registry.leases.count_here,
            client_kinds=xds.streams.kinds,
        )
        served = Served(cluster, locking, registry, xds, bus, self.identity, forwarding)
        await self._serve(stack, store, served, telemetry)

    async def _open_cluster(self, stack: AsyncExitStack, store: Store, telemetry: Telemetry) -> Cluster:
        cluster = self.cluster = Cluster(
            store,
            self.config.cluster,
            member=self._random_bytes(MEMBER_BYTES).hex(),
            version=__version__,
            host=socket.gethostname(),
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        stack.push_async_callback(cluster.close)
        await cluster.start()
        self._failures += cluster.failures
        cluster_gauges.expose(cluster, telemetry)
        return cluster

    def _make_forwarding(self, stack: AsyncExitStack, cluster: Cluster) -> Forwarding:
        config, identity = self.config, self.identity
        known = (
            PeerIdentity(identity.trust.trust_domain, identity.member.read, identity.callers)
            if identity is not None
            else None
        )
        forwarding = Forwarding(
            placement=cluster.placement,
            addresses=cluster.addresses,
            trust=MemberTrust(cluster.secret, config.server, known, config.cluster.tls_ca_file),
            timeout=config.cluster.forward_timeout,
            clock=self._clock,
            rng=self._rng,
        )
        stack.push_async_callback(forwarding.close)
        return forwarding

    async def _open_registry(
        self,
        stack: AsyncExitStack,
        store: Store,
        cluster: Cluster,
        forwarding: Forwarding | None,
        telemetry: Telemetry,
    ) -> Registry:
        config = self.config
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
            placement=cluster.placement,
            peers=forwarding.peer_drains if forwarding is not None else None,
            quiet=config.cluster.member_timeout,
        )
        stack.push_async_callback(registry.close)
        await registry.start()
        self._failures.append(registry.failed)
        expose(registry, store, telemetry, self._clock)
        return registry

    def _open_xds(
        self, stack: AsyncExitStack, cluster: Cluster, registry: Registry, telemetry: Telemetry
    ) -> ControlPlane:
        identity = self.identity
        xds = self.xds = ControlPlane(
            registry.view,
            registry.loads,
            self.config.xds,
            self._clock,
            new_id=lambda: self._random_bytes(8).hex(),
            trust_domain=identity.trust.trust_domain if identity is not None else "",
            roots=identity.trust.bundle_pem if identity is not None else bytes,
            kinds_elsewhere=cluster.live.client_kinds,
        )
        stack.push_async_callback(xds.close)
        xds.start()
        registry.catalog.policy_checks.append(xds.check)
        if identity is not None:
            identity.view.trust_changed.append(xds.trust_changed)
        self._failures.append(xds.failed)
        xds_gauges.expose(xds, telemetry)
        return xds

    async def _open_bus(
        self,
        stack: AsyncExitStack,
        store: Store,
        cluster: Cluster,
        registry: Registry,
        forwarding: Forwarding | None,
        telemetry: Telemetry,
    ) -> Bus:
        bus = self.bus = Bus(
            store,
            registry.namespaces,
            self.config.bus,
            clock=self._clock,
            rng=self._rng,
            random_bytes=self._random_bytes,
            meter=telemetry.meter,
            placement=cluster.placement,
        )
        bus.namespaces_caught_up = registry.view.caught_up
        bus.remote = forwarding.remote_publish if forwarding is not None else None
        stack.push_async_callback(bus.close)
        await bus.start()
        registry.catalog.tenants.append(bus.tenant)
        self._failures += bus.failures
        bus_gauges.expose(bus, telemetry)
        return bus

    async def _open_locking(self, stack: AsyncExitStack, store: Store, cluster: Cluster, registry: Registry) -> Locking:
        locking = Locking(
            store,
            registry.namespaces,
            cluster.placement,
            clock=self._clock,
            rng=self._rng,
            random_bytes=self._random_bytes,
        )
        stack.push_async_callback(locking.close)
        await locking.start()
        registry.catalog.tenants.append(locking.tenant)
        self._failures.append(locking.failed)
        return locking

    async def _open_identity(self, stack: AsyncExitStack, store: Store, cluster: Cluster, telemetry: Telemetry) -> None:
        from sira_grpc.bundle_endpoint import BundleFetcher, BundleServer  # HTTP takes a while to import

        config = self.config.identity
        host = socket.gethostname()
        reached = (
            *self.config.server.addresses,
            *self.config.server.token_addresses,
            *self.config.cluster.advertise_addresses,
        )
        identity = self.identity = await open_identity(
            store,
            BundleFetcher(ca_file=Path(config.federation_ca_file) if config.federation_ca_file else None),
            config,
            host=host,
            names=reached_names(reached, host),
            clock=self._clock,
            random_bytes=self._random_bytes,
            members=Members(cluster.placement, cluster.duties if store.shared else None),
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

    async def _serve(self, stack: AsyncExitStack, store: Store, served: Served, telemetry: Telemetry) -> None:
        config, identity = self.config, served.identity
        cluster, registry, bus, forwarding = served.cluster, served.registry, served.bus, served.forwarding
        addresses: list[str] = []
        kernel_servicer = KernelServicer(
            store, registry, self._clock, member=cluster.placement.member, addresses=addresses
        )
        server = RpcServer(
            config,
            registrations(served, kernel_servicer, config.registry),
            telemetry=telemetry,
            clock=self._clock,
            rng=self._rng,
            new_id=lambda: self._random_bytes(8).hex(),
            identity=ServerIdentity(identity.callers, identity.member.read) if identity is not None else None,
            forwarding=forwarding,
        )
        server.mark_reads(cluster.store_watch.age)
        server.fence(served.locking.fences)
        self._failures.append(server.failed)
        stack.push_async_callback(server.stop)
        stack.push_async_callback(cluster.leave)  # others take over while this one drains
        stack.callback(registry.stopping)  # before the server ends its streams
        stack.callback(bus.stopping)
        await server.start()
        addresses.extend(server.addresses)
        self.addresses, self.token_addresses = server.addresses, server.token_addresses
        await cluster.announce(config.cluster.advertised(server.addresses, socket.gethostname()))
        if forwarding is not None:
            forwarding.start(registry.loads)
            self._failures.append(forwarding.failed)
        cluster.store_watch.changed.append(server.available)
        server.available(not cluster.store_watch.lost)

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
