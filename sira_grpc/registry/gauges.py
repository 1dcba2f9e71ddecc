"""The registry's sizes and lags, as metrics."""

from __future__ import annotations

from collections.abc import Callable

from sira.kernel.v1.kernel_service_pb2 import RegistrySize

from sira_grpc.clock import Clock
from sira_grpc.registry.registry import Registry
from sira_grpc.store.api import StateStore
from sira_grpc.telemetry import Telemetry


def expose(registry: Registry, store: StateStore, telemetry: Telemetry, clock: Clock) -> None:
    """Has the exporters read how much the registry holds, and how far behind the store and the readers are."""

    def size(read: Callable[[RegistrySize], int]) -> Callable[[], float]:
        return lambda: read(registry.size())

    gauge = telemetry.gauge
    gauge("sira.registry.namespaces", size(lambda s: s.namespaces), unit="{namespace}", description="Namespaces.")
    gauge("sira.registry.services", size(lambda s: s.services), unit="{service}", description="Services.")
    gauge("sira.registry.endpoints", size(lambda s: s.endpoints), unit="{endpoint}", description="Endpoints.")
    gauge(
        "sira.registry.endpoints.healthy",
        size(lambda s: s.healthy_endpoints),
        unit="{endpoint}",
        description="Endpoints that are SERVING and not suspect.",
    )
    gauge("sira.registry.leases", size(lambda s: s.leases), unit="{lease}", description="Leases.")
    gauge(
        "sira.registry.leases.suspect",
        size(lambda s: s.suspect_leases),
        unit="{lease}",
        description="Leases whose stream was lost.",
    )
    gauge("sira.registry.watchers", size(lambda s: s.watchers), unit="{stream}", description="Open Watch streams.")
    gauge(
        "sira.registry.expiry.paused",
        size(lambda s: len(s.expiry_paused)),
        unit="{service}",
        description="Services whose expiry self-preservation has paused.",
    )
    gauge(
        "sira.registry.view.lag",
        lambda: max(0, store.revision - registry.view.revision),
        unit="{revision}",
        description="Revisions by which the view is behind the store.",
    )
    gauge(
        "sira.registry.watch.behind",
        lambda: sum(service.feed.behind() for service in tuple(registry.view.services.values())),
        unit="{stream}",
        description="Watch streams that have not been sent the latest change.",
    )
    gauge(
        "sira.registry.watch.lag",
        lambda: _watch_lag(registry, clock),
        unit="s",
        description="Age of the latest change that some Watch stream has not been sent.",
    )


def _watch_lag(registry: Registry, clock: Clock) -> float:
    late = [s.feed.published_at for s in tuple(registry.view.services.values()) if s.feed.behind()]
    return max(0.0, clock.monotonic() - min(late)) if late else 0.0
