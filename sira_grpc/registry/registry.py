"""The registry as a whole: puts its parts together, starts them and stops them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from sira.kernel.v1.kernel_service_pb2 import RegistrySize
from sira.registry.v1.namespace_pb2 import Namespace

from sira_grpc.background import Background
from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.config import RegistryConfig
from sira_grpc.errors import AlreadyExists, KernelStopping
from sira_grpc.following import follow
from sira_grpc.placement import Alone, Placement
from sira_grpc.registry import names
from sira_grpc.registry.catalog import Catalog
from sira_grpc.registry.drain import Drainer
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.expiry import Expiry, SelfPreservation
from sira_grpc.registry.guards import DeletionGuard
from sira_grpc.registry.health_checks import HealthChecks
from sira_grpc.registry.health_writer import HealthReports, HealthWriter
from sira_grpc.registry.lease_keeper import LeaseKeeper
from sira_grpc.registry.lease_records import LeaseRecords
from sira_grpc.registry.lease_session import LeaseSession
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.listing import Listing
from sira_grpc.registry.load import LoadReporter, LoadTable
from sira_grpc.registry.peers import Peers
from sira_grpc.registry.probe_api import Prober
from sira_grpc.registry.registrar import Registrar
from sira_grpc.registry.resharding import Resharding
from sira_grpc.registry.resolve import Resolver
from sira_grpc.registry.store_pulse import StorePulse
from sira_grpc.registry.tenants import Namespaces
from sira_grpc.registry.view import RegistryView
from sira_grpc.registry.watching import Watching
from sira_grpc.store.api import Store

DEFAULT_NAMESPACE = "namespaces/default"


class Registry:
    """The parts of the registry, each with its own commands, and the tasks that run behind them.

    Args:
        store: where everything durable is.
        prober: how health is probed.
        config: see RegistryConfig.
        clock, rng, random_bytes: time and randomness; random_bytes must be unpredictable, as keys are made of it.
        max_probes: how many probes may run at once.
        placement: which members are live, and what is whose; alone by default.
        peers: the other members.
        quiet: seconds without a write after which a shared store has stalled, so that nothing expires; more than
            members leave between two heartbeats.
    """

    def __init__(  # noqa: PLR0913 - what the registry needs of the rest of the kernel, put together in one place
        self,
        store: Store,
        prober: Prober,
        config: RegistryConfig,
        *,
        clock: Clock,
        rng: random.Random,
        random_bytes: Callable[[int], bytes],
        max_probes: int,
        placement: Placement | None = None,
        peers: Peers | None = None,
        quiet: float = 2.0,
    ) -> None:
        placement = placement or Alone()
        self._store = store
        self._config = config
        self._background = Background()
        self._following: asyncio.Task[None] | None = None
        self.view = RegistryView(clock)
        self.commits = Commits(store, self.view)
        self.events = EventLog(store, clock, limit=config.events_kept)
        self.leases = LeaseTable(self.view, clock, placement)
        guard = DeletionGuard()
        self.namespaces = Namespaces(self.view, guard)
        self.registrar = Registrar(self.view, self.commits, self.leases, guard, self.events, clock, random_bytes)
        self.catalog = Catalog(self.view, self.commits, self.registrar, guard, self.events, clock)
        records = LeaseRecords(self.view, self.commits, self.leases, clock)
        self.keeper = LeaseKeeper(self.view, self.commits, self.leases, self.registrar, self.events, clock, records)
        pulse = StorePulse(self.view, clock, self.leases.lose, quiet=quiet if store.shared else None)
        self.expiry = self._make_expiry(config, clock, pulse)
        self._health_writer = HealthWriter(self.view, self.events, clock, self.commits, self.leases)
        self.resharding = Resharding(self.view, self.leases, self._health_writer, placement)
        self._checks = HealthChecks(
            prober, self._health_writer.found, clock=clock, random=rng, max_concurrent=max_probes
        )
        self.health_reports = HealthReports(self.leases, self.registrar, self._checks, self._health_writer)
        self.loads = LoadTable(clock, ttl=config.load_report_ttl)
        self.drainer = Drainer(self.view, self.commits, self.loads, self.events, clock, peers)
        self.resolver = Resolver(self.view, self.loads, clock, rng)
        self.watching = Watching(self.view, shared=store.shared)
        self.listing = Listing(self.view, self.keeper, self.expiry, self.events)

    def _make_expiry(self, config: RegistryConfig, clock: Clock, pulse: StorePulse) -> Expiry:
        rule = SelfPreservation(
            share=config.self_preservation_share,
            min_endpoints=config.self_preservation_min_endpoints,
            window=config.self_preservation_window,
            limit=config.self_preservation_limit,
        )
        return Expiry(
            self.view, self.commits, self.leases, self.keeper, self.registrar, self.events, clock, pulse, rule
        )

    async def start(self) -> None:
        """Fills the view and starts to follow the store. Leases that are here have one TTL from here to come back."""
        snapshot = await self._store.snapshot(names.PREFIX)
        self.view.load(snapshot, compacted=self._store.compacted)
        await self.events.load()
        self.resharding.begin()
        self.leases.recover()
        self.view.hooks.endpoint_gone.append(self.loads.forget)
        self.view.hooks.lease_written.append(self.leases.settle)
        self.view.hooks.lease_gone.append(self.leases.forget)
        self._health_writer.begin(self._checks)
        following = follow(self._store, self.view, after=snapshot.revision)
        self._following = self._background.own(following, "registry view")
        self._background.own(self.events.run(), "registry events")
        self._background.own(self.keeper.suspects.run(), "registry suspects")
        self._background.own(self._health_writer.pending.run(), "registry health")
        if not snapshot.entries and not snapshot.deleted:
            default = Namespace(name=DEFAULT_NAMESPACE, description="where services go unless told")
            with suppress(AlreadyExists):  # another member has begun at the same time
                await self.catalog.create_namespace(default, actor="")
        self._background.own(self.resharding.run(), "registry resharding")
        self._background.own(self.expiry.run(), "registry expiry")

    @property
    def failed(self) -> asyncio.Event:
        """A task has ended that must not."""
        return self._background.failed

    def session(self, *, actor: str) -> LeaseSession:
        """Returns a session for one HoldLease stream."""
        return LeaseSession(
            self.view, self.keeper, self.registrar, default_ttl=self._config.default_lease_ttl, actor=actor
        )

    def load_reporter(self, lease_key: str) -> LoadReporter:
        """Returns a reporter for one ReportLoad stream. Raises: LeaseNotFound, LeaseNotYours."""
        return LoadReporter(self.leases, self.registrar, self.loads, lease_key=lease_key)

    def size(self) -> RegistrySize:
        """Counts what is there. May be called from any thread: it iterates copies, which CPython makes atomically."""
        view = self.view
        services = tuple(view.services.values())
        return RegistrySize(
            namespaces=len(view.namespaces),
            services=len(services),
            endpoints=sum(len(service.endpoints) for service in services),
            healthy_endpoints=sum(service.healthy for service in services),
            leases=len(view.leases),
            suspect_leases=len(view.suspects),
            watchers=sum(service.feed.subscribers for service in services),
            expiry_paused=self.expiry.paused(),
        )

    def stopping(self) -> None:
        """From here on, a stream that ends makes nobody suspect: it is the kernel that goes away."""
        self.keeper.stopping = True

    async def close(self) -> None:
        """Finishes the commands under way and stops the tasks. Leases stay as they are in the store."""
        self.stopping()
        self.resharding.close()
        await self._background.cancel(but=self._following)  # it feeds the view, which the others wait for
        await self.commits.close()
        await self._checks.close()
        for pending in (self.keeper.suspects, self._health_writer.pending):
            with suppress(KernelStopping):  # the view has ended before
                await pending.flush()
        await self._background.cancel()
        await self.events.flush()
