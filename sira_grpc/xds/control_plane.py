"""The control plane of one member: resources, the streams over which clients take them, and what runs behind both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from sira.registry.v1.service_pb2 import Service

from sira_grpc.background import Background
from sira_grpc.clock import Clock
from sira_grpc.config import XdsConfig
from sira_grpc.registry.load import LoadTable
from sira_grpc.registry.view import RegistryView
from sira_grpc.xds import capabilities, policy_limits, tls
from sira_grpc.xds.builders import BUILDERS
from sira_grpc.xds.catalog import Catalog
from sira_grpc.xds.load_reports import LoadReports
from sira_grpc.xds.streams import Streams
from sira_grpc.xds.world import World


class ControlPlane:
    """Catalog and streams.

    Args:
        view: the registry.
        loads: where the load goes that clients report.
        config: see XdsConfig.
        clock: the time.
        new_id: makes ids of streams.
        trust_domain, roots: see World.
        kinds_elsewhere: returns the kinds of clients that are connected to other members.
    """

    def __init__(
        self,
        view: RegistryView,
        loads: LoadTable,
        config: XdsConfig,
        clock: Clock,
        *,
        new_id: Callable[[], str],
        trust_domain: str = "",
        roots: Callable[[], bytes] = bytes,
        kinds_elsewhere: Callable[[], Iterable[capabilities.Kind]] = tuple,
    ) -> None:
        self.config = config
        self._kinds_elsewhere = kinds_elsewhere
        self.world = World(view, clock, trust_domain, roots, config.load_report_interval)
        self.catalog = Catalog(self.world, BUILDERS)
        self.streams = Streams(
            self.catalog,
            clock,
            batch_limit=config.batch_limit,
            max_names=config.max_names,
            resource_ttl=config.resource_ttl,
            new_id=new_id,
        )
        interval = config.load_report_interval
        self.load_reports = LoadReports(view, loads, self.catalog, clock, interval=interval)
        self._background = Background()

    @property
    def failed(self) -> asyncio.Event:
        """A task has ended that must not."""
        return self._background.failed

    def start(self) -> None:
        """Begins to push what changes."""
        self._background.own(self.catalog.run(), "xds catalog")
        self._background.own(self.streams.run(), "xds streams")

    def check(self, service: Service) -> None:
        """Makes sure that every kind of client that is connected accepts what a service asks for.

        Raises:
            PolicyNotSupported: one would reject it.
            InvalidField: it asks for mutual TLS, and there are no identities here; or for more than `policy_limits`.
        """
        policy_limits.check(service)
        tls.check(service, self.world.trust_domain)
        capabilities.check(service, self.streams.kinds().union(self._kinds_elsewhere()))

    def trust_changed(self, revision: int) -> None:
        """Has the roots sent again."""
        self.catalog.trust_changed()

    async def close(self) -> None:
        """Ends every stream and stops the tasks."""
        self.streams.close()
        await self._background.cancel()
