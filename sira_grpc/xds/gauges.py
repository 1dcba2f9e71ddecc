"""The clients of the control plane and what they are sent, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.telemetry import Telemetry
from sira_grpc.xds.control_plane import ControlPlane
from sira_grpc.xds.node import UNKNOWN
from sira_grpc.xds.streams import Streams

_KINDS = {value: name.removeprefix("CLIENT_KIND_").lower() for name, value in ClientKind.items()}
_LATENCIES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)

# Name below sira.xds, unit, description, and where the number is.
_NUMBERS: tuple[tuple[str, str, str, Callable[[ControlPlane], int]], ...] = (
    ("responses", "{response}", "Responses sent since the start.", lambda xds: xds.streams.responses),
    (
        "rejections",
        "{response}",
        "Responses that clients have rejected since the start.",
        lambda xds: xds.streams.rejections,
    ),
    (
        "load.clients",
        "{client}",
        "Clients whose load reports count.",
        lambda xds: xds.load_reports.clients,
    ),
    (
        "load.reports",
        "{report}",
        "Load reports taken since the start.",
        lambda xds: xds.load_reports.reports,
    ),
)


def expose(xds: ControlPlane, telemetry: Telemetry) -> None:
    """Has the exporters read how many clients there are, what they were sent, and how long that took."""
    telemetry.gauge(
        "sira.xds.streams",
        lambda: _by_kind(xds.streams),
        unit="{stream}",
        description="Open streams over which clients take their configuration.",
    )
    for name, unit, description, read in _NUMBERS:
        telemetry.gauge(f"sira.xds.{name}", _reader(xds, read), unit=unit, description=description)
    pushes = telemetry.meter.create_histogram(
        "sira.xds.push.duration",
        unit="s",
        description="From when a change was known to when every stream was told of it.",
        explicit_bucket_boundaries_advisory=_LATENCIES,
    )
    xds.streams.pushed.append(pushes.record)


def _reader(xds: ControlPlane, read: Callable[[ControlPlane], int]) -> Callable[[], float]:
    return lambda: read(xds)


def _by_kind(streams: Streams) -> list[tuple[float, dict[str, str]]]:
    """A reading for each kind, also for those of which there are none: who has gone is 0, and not what it was last."""
    kinds = Counter(stream.node.kind if stream.node is not None else UNKNOWN for stream in streams.streams)
    return [(kinds[value], {"kind": name}) for value, name in _KINDS.items()]
