"""The clients of the control plane, as metrics."""

from __future__ import annotations

from collections import Counter

from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.telemetry import Telemetry
from sira_grpc.xds.load_reports import LoadReports
from sira_grpc.xds.node import UNKNOWN
from sira_grpc.xds.streams import Streams

_KINDS = {value: name.removeprefix("CLIENT_KIND_").lower() for name, value in ClientKind.items()}


def expose(streams: Streams, loads: LoadReports, telemetry: Telemetry) -> None:
    """Has the exporters read how many clients there are."""
    telemetry.gauge(
        "sira.xds.streams",
        lambda: _by_kind(streams),
        unit="{stream}",
        description="Open streams over which clients take their configuration.",
    )
    telemetry.gauge(
        "sira.xds.load.clients",
        lambda: loads.clients,
        unit="{client}",
        description="Clients whose load reports count.",
    )


def _by_kind(streams: Streams) -> list[tuple[float, dict[str, str]]]:
    """A reading for each kind, also for those of which there are none: who has gone is 0, and not what it was last."""
    kinds = Counter(stream.node.kind if stream.node is not None else UNKNOWN for stream in tuple(streams.streams))
    return [(kinds[value], {"kind": name}) for value, name in _KINDS.items()]
