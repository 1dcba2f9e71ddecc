"""The bus's sizes and lags, as metrics."""

from __future__ import annotations

from collections.abc import Callable

from sira_grpc.bus.active_subscription import ActiveSubscription
from sira_grpc.bus.bus import Bus
from sira_grpc.bus.source import Source
from sira_grpc.telemetry import Telemetry


def expose(bus: Bus, telemetry: Telemetry) -> None:
    """Has the exporters read how much the bus holds, and how far behind its subscriptions are."""
    telemetry.gauge("sira.bus.topics", lambda: len(bus.view.topics), unit="{topic}", description="Topics.")
    telemetry.gauge(
        "sira.bus.subscriptions",
        lambda: len(bus.view.subscriptions),
        unit="{subscription}",
        description="Subscriptions.",
    )
    telemetry.gauge(
        "sira.bus.tails", lambda: bus.subscribing.tails, unit="{stream}", description="Streams without a subscription."
    )
    telemetry.gauge(
        "sira.bus.partition.size",
        lambda: sum(each.partition.size for each in bus.partitions.opened()),
        unit="By",
        description="Bytes of the frames that are kept.",
    )
    telemetry.gauge(
        "sira.bus.scheduled",
        lambda: sum(each.scheduled.count for each in bus.partitions.opened()),
        unit="{record}",
        description="Records that wait for their deliver_at.",
    )
    for name, unit, description, read in _BY_SUBSCRIPTION:
        telemetry.gauge(f"sira.bus.subscription.{name}", _reader(bus, read), unit=unit, description=description)


# Name below sira.bus.subscription, unit, description, and where the number is.
_BY_SUBSCRIPTION: tuple[tuple[str, str, str, Callable[[ActiveSubscription], int]], ...] = (
    ("lag", "{record}", "Records that are kept and not settled.", lambda active: _sum(active, lambda s: s.lag)),
    (
        "outstanding",
        "{record}",
        "Records that are with consumers.",
        lambda active: _sum(active, lambda s: s.machine.outstanding),
    ),
    (
        "retrying",
        "{record}",
        "Records that wait to be delivered again.",
        lambda active: _sum(active, lambda s: s.machine.retrying),
    ),
    (
        "lost",
        "{record}",
        "Records that retention took before they were settled.",
        lambda active: _sum(active, lambda s: s.lost),
    ),
    ("dead_letters", "{record}", "Dead letters that are kept.", lambda active: active.dead_letters.count),
    ("consumers", "{stream}", "Consumers that are connected.", lambda active: len(active.consumers)),
)


def _sum(active: ActiveSubscription, read: Callable[[Source], int]) -> int:
    return sum(read(source) for source in tuple(active.sources.values()))


def _reader(bus: Bus, read: Callable[[ActiveSubscription], int]) -> Callable[[], list[tuple[float, dict[str, str]]]]:
    return lambda: [(read(active), {"subscription": active.entry.name}) for active in bus.active.opened()]
