"""`sira cluster status`: who the members are, and how they and the store are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sira_grpc.cli import cells
from sira_grpc.cli.commands import connected
from sira_grpc.cli.output import Column, Format
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.cluster.v1.member_pb2 import Cluster, Member, MemberState, StoreReplica, StoreState

_STYLES = {"LIVE": "green", "STOPPING": "yellow", "DEAD": "red"}


def short(name: str) -> str:
    """`members/x1` is `x1`."""
    return name.removeprefix("members/")


def state(value: MemberState.ValueType) -> str:
    """The state of a member, coloured."""
    from sira.cluster.v1.member_pb2 import MemberState

    name = MemberState.Name(value).removeprefix("MEMBER_STATE_")
    return f"[{_STYLES[name]}]{name}[/]" if name in _STYLES else name


def store_state(store: StoreState) -> str:
    """The engine of the store, and whether it takes writes."""
    if store.writable:
        return f"{store.engine}, writable"
    since = f" for {cells.age(store.lost_time)}" if store.HasField("lost_time") else ""
    return f"{store.engine}, [red]not writable{since}[/]"


def _lag(member: Member) -> str:
    return f"{member.view_lag.ToNanoseconds() / 1e6:.1f} ms" if member.HasField("view_lag") else ""


def _replica_state(replica: StoreReplica) -> str:
    if replica.offline:
        return "[red]OFFLINE[/]"
    if replica.leader:
        return "[green]LEADER[/]"
    return "[green]CURRENT[/]" if replica.current else "[yellow]BEHIND[/]"


MEMBERS: Sequence[Column[Member]] = (
    ("MEMBER", lambda member: short(member.name)),
    ("STATE", lambda member: state(member.state)),
    ("VERSION", lambda member: cells.text(member.version)),
    ("HOST", lambda member: cells.text(member.host)),
    ("ADDRESSES", lambda member: cells.text(" ".join(member.addresses))),
    ("UP FOR", lambda member: cells.age(member.start_time)),
    ("HEARD", lambda member: f"{cells.age(member.heartbeat_time)} ago"),
    ("LAG", _lag),
    ("NAMESPACES", lambda member: str(member.bus_namespaces)),
    ("LEASES", lambda member: str(member.leases)),
    ("DUTIES", lambda member: cells.text(" ".join(member.duties))),
)
REPLICAS: Sequence[Column[StoreReplica]] = (
    ("SERVER", lambda replica: cells.text(replica.name)),
    ("STATE", _replica_state),
    ("LAG", lambda replica: str(replica.lag)),
)
STORE: Sequence[Column[Cluster]] = (
    ("STORE", lambda cluster: store_state(cluster.store)),
    ("LEADER", lambda cluster: cells.text(cluster.store.leader)),
    ("REVISION", lambda cluster: str(cluster.store.revision)),
    ("ANSWERED BY", lambda cluster: short(cluster.answered_by)),
)


@connected
def status(session: Session) -> None:
    """Show the members, what they do, and the store: its leader and replicas where it has several servers."""
    from sira.cluster.v1.cluster_service_pb2 import GetClusterRequest

    cluster = session.call(session.cluster.GetCluster, GetClusterRequest()).cluster
    if session.printer.format is not Format.TABLE:
        session.printer.one(cluster, STORE)
        return
    session.printer.rows(cluster.members, MEMBERS)
    print()
    session.printer.one(cluster, STORE)
    if cluster.store.replicas:
        print()
        session.printer.rows(cluster.store.replicas, REPLICAS)
