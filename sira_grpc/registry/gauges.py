"""The registry's sizes and lags, as metrics."""

from __future__ import annotations

from collections.abc import Callable

from sira.kernel.v1.kernel_service_pb2 import RegistrySize

from sira_grpc.clock import Clock
from sira_grpc.registry.registry import Registry
from sira_grpc.store.api import StateStore
from sira_grpc.telemetry import Telemetry

# Name below sira.registry, unit, description, and where the number is.
_SIZES: tuple[tuple[str, str, str, Callable[[RegistrySize], int]], ...] = (
    ("namespaces", "{namespace}", "Namespaces.", lambda size: size.namespaces),
    ("services", "{service}", "Services.", lambda size: size.services),
    ("endpoints", "{endpoint}", "Endpoints.", lambda size: size.endpoints),
    (
        "endpoints.healthy",
        "{endpoint}",
        "Endpoints that are SERVING and not suspect.",
        lambda size: size.healthy_endpoints,
    ),
    ("leases", "{lease}", "Leases.", lambda size: size.leases),
    ("leases.suspect", "{lease}", "Leases whose stream was lost.", lambda size: size.suspect_leases),
    ("watchers", "{stream}", "Open Watch streams.", lambda size: size.watchers),
    (
        "expiry.paused",
        "{service}",
        "Services whose expiry self-preservation has paused.",
        lambda size: len(size.expiry_paused),
    ),
)


def expose(registry: Registry, store: StateStore, telemetry: Telemetry, clock: Clock) -> None:
    """Has the exporters read how much the registry holds, and how far behind the store and the readers are."""
    for name, unit, description, read in _SIZES:
        telemetry.gauge(f"sira.registry.{name}", _size_reader(registry, read), unit=unit, description=description)
    telemetry.gauge(
        "sira.registry.view.lag",
        lambda: max(0, store.revision - registry.view.revision),
        unit="{revision}",
        description="Revisions by which the view is behind the store.",
    )
    telemetry.gauge(
        "sira.registry.watch.behind",
        lambda: sum(service.feed.behind() for service in tuple(registry.view.services.values())),
        unit="{stream}",
        description="Watch streams that have not been sent the latest change.",
    )
    telemetry.gauge(
        "sira.registry.watch.lag",
        lambda: _watch_lag(registry, clock),
        unit="s",
        description="Age of the latest change that some Watch stream has not been sent.",
    )


def _size_reader(registry: Registry, read: Callable[[RegistrySize], int]) -> Callable[[], float]:
    return lambda: read(registry.size())


def _watch_lag(registry: Registry, clock: Clock) -> float:
    late = [s.feed.published_at for s in tuple(registry.view.services.values()) if s.feed.behind()]
    return max(0.0, clock.monotonic() - min(late)) if late else 0.0
