"""The cluster's members, lag and store, as metrics."""

from __future__ import annotations

from sira.cluster.v1.member_pb2 import MemberState

from sira_grpc.cluster.cluster import Cluster
from sira_grpc.telemetry import Telemetry
from sira_grpc.times import NANOS

_STATES = {
    MemberState.MEMBER_STATE_LIVE: "live",
    MemberState.MEMBER_STATE_STOPPING: "stopping",
    MemberState.MEMBER_STATE_DEAD: "dead",
}


def expose(cluster: Cluster, telemetry: Telemetry) -> None:
    """Has the exporters read how the cluster is, as this member sees it."""
    telemetry.gauge(
        "sira.cluster.members",
        lambda: [(cluster.live.counts.get(state, 0), {"state": name}) for state, name in _STATES.items()],
        unit="{member}",
        description="Members, by state.",
    )
    telemetry.gauge(
        "sira.cluster.view.lag",
        lambda: cluster.membership.record.view_lag_ns / NANOS,
        unit="s",
        description="Time from the write of the last heartbeat to its arrival in the view.",
    )
    telemetry.gauge(
        "sira.cluster.store.available",
        lambda: not cluster.store_watch.lost,
        description="1 while the store takes writes, else 0.",
    )
    telemetry.gauge(
        "sira.cluster.duties",
        lambda: cluster.duties.held,
        unit="{duty}",
        description="Duties that are done here.",
    )
