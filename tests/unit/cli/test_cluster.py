"""What is shown of a cluster."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from sira.cluster.v1.member_pb2 import Cluster, Member, MemberState, StoreReplica, StoreState

from sira_grpc.cli.cluster.status import MEMBERS, REPLICAS, store_state
from sira_grpc.cli.cluster.watch import ClusterLines

LIVE, STOPPING, DEAD = (
    MemberState.MEMBER_STATE_LIVE,
    MemberState.MEMBER_STATE_STOPPING,
    MemberState.MEMBER_STATE_DEAD,
)


def member(name: str, state: MemberState.ValueType = LIVE, *duties: str) -> Member:
    return Member(name=f"members/{name}", state=state, addresses=[f"{name}:1"], duties=duties)


def told(lines: ClusterLines, cluster: Cluster) -> list[list[str]]:
    return [line.split() for line in lines.lines(cluster)]


def test_a_row_of_a_member() -> None:
    shown = member("a", DEAD, "one", "two")
    shown.view_lag.CopyFrom(Duration(nanos=2_340_000))
    shown.bus_namespaces, shown.leases = 3, 5
    row = {title: cell(shown) for title, cell in MEMBERS if title not in ("UP FOR", "HEARD")}
    assert row == {
        "MEMBER": "a",
        "STATE": "[red]DEAD[/]",
        "VERSION": "",
        "HOST": "",
        "ADDRESSES": "a:1",
        "LAG": "2.3 ms",
        "NAMESPACES": "3",
        "LEASES": "5",
        "DUTIES": "one two",
    }


def test_a_row_of_a_server_of_the_store() -> None:
    replicas = [
        StoreReplica(name="n1", leader=True, current=True),
        StoreReplica(name="n2", current=True),
        StoreReplica(name="n3", lag=7),
        StoreReplica(name="n4", offline=True, lag=900),
    ]
    assert [[cell(replica) for _, cell in REPLICAS] for replica in replicas] == [
        ["n1", "[green]LEADER[/]", "0"],
        ["n2", "[green]CURRENT[/]", "0"],
        ["n3", "[yellow]BEHIND[/]", "7"],
        ["n4", "[red]OFFLINE[/]", "900"],
    ]


def test_a_store_that_is_lost_says_since_when() -> None:
    assert store_state(StoreState(engine="nats", writable=True)) == "nats, writable"
    lost = StoreState(engine="nats")
    assert store_state(lost) == "nats, [red]not writable[/]"
    lost.lost_time.GetCurrentTime()
    assert store_state(lost).startswith("nats, [red]not writable for ")


def test_only_what_is_different_is_told() -> None:
    lines = ClusterLines()
    store = StoreState(engine="nats", writable=True, leader="n1", replicas=[StoreReplica(name="n1")])
    assert told(lines, Cluster(members=[member("a"), member("b")], store=store, revision=1)) == [
        ["1", "member", "a", "[green]LIVE[/]", "a:1"],
        ["1", "member", "b", "[green]LIVE[/]", "b:1"],
        ["1", "store", "nats", "writable"],
        ["1", "leader", "nats", "n1"],
    ]
    store.leader = "n2"
    assert told(lines, Cluster(members=[member("a", LIVE, "sweep"), member("b", STOPPING)], store=store)) == [
        ["0", "member", "a", "[green]LIVE[/]", "a:1", "sweep"],
        ["0", "member", "b", "[yellow]STOPPING[/]", "b:1"],
        ["0", "leader", "nats", "n2"],
    ]
    lost = StoreState(engine="nats")
    assert told(lines, Cluster(members=[member("a", LIVE, "sweep")], store=lost, revision=3)) == [
        ["3", "member", "b", "gone"],
        ["3", "store", "nats", "[red]not", "writable[/]"],
        ["3", "leader", "nats", "[red]none[/]"],
    ]
