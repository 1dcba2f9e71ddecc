from __future__ import annotations

from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, TrafficPolicy

from sira_grpc.xds.node import C_CORE, ENVOY, GO, Node
from sira_grpc.xds.rows import DRAINING, HEALTHY, UNHEALTHY, rows_of
from sira_grpc.xds.selection import choose
from tests.unit.xds.mesh import WEB, Mesh, endpoint

Chosen = list[tuple[int, int, list[tuple[str, int]]]]


def chosen(mesh: Mesh, policy: TrafficPolicy, node: Node) -> Chosen:
    """By batch: priority, health, and the ids of the endpoints with their weights."""
    rows = rows_of(mesh.view, mesh.view.services[WEB])
    return [
        (b.priority, b.health, [(r.message.name.rpartition("/")[2], w) for r, w in zip(b.rows, b.weights, strict=True)])
        for b in choose(rows, policy, node, mesh.clock.time_ns())
        if b.rows
    ]


def mesh_of_three() -> Mesh:
    mesh = Mesh()
    mesh.service()
    mesh.endpoints(
        endpoint(1, region="r", zone="a", weight=300),
        endpoint(2, region="r", zone="b", check="grpc"),
        endpoint(3, region="q", zone="a"),
    )
    return mesh


def test_weights_only_where_they_count() -> None:
    mesh = mesh_of_three()
    for lb_policy, weight in (
        (LbPolicy.LB_POLICY_ROUND_ROBIN, 100),
        (LbPolicy.LB_POLICY_RANDOM, 100),
        (LbPolicy.LB_POLICY_ORCA_WEIGHTED, 100),
        (LbPolicy.LB_POLICY_WEIGHTED, 300),
        (LbPolicy.LB_POLICY_LEAST_REQUEST, 300),
        (LbPolicy.LB_POLICY_RING_HASH, 300),
    ):
        policy = TrafficPolicy(lb_policy=lb_policy)
        assert chosen(mesh, policy, Node("n", kind=GO)) == [(0, HEALTHY, [("e1", weight), ("e3", 100)])]


def test_an_envoy_is_sent_the_unhealthy_too() -> None:
    mesh = mesh_of_three()
    assert chosen(mesh, TrafficPolicy(), Node("n", kind=ENVOY)) == [
        (0, HEALTHY, [("e1", 100), ("e3", 100)]),
        (0, UNHEALTHY, [("e2", 0)]),
    ]


def test_tiers_have_no_gaps() -> None:
    mesh = mesh_of_three()
    policy = TrafficPolicy(locality_failover=LocalityFailover())
    assert chosen(mesh, policy, Node("n", kind=ENVOY, region="r", zone="c")) == [
        (0, HEALTHY, [("e1", 100)]),
        (0, UNHEALTHY, [("e2", 0)]),
        (1, HEALTHY, [("e3", 100)]),
    ]
    mesh.health("e2", HealthState.HEALTH_STATE_SERVING)
    mesh.drain("e1")
    assert chosen(mesh, policy, Node("n", kind=GO, region="r", zone="a")) == [
        (0, HEALTHY, [("e2", 100_000)]),
        (1, HEALTHY, [("e3", 100)]),
    ]


def test_drained_ones_for_clients_that_keep_sessions() -> None:
    mesh = mesh_of_three()
    mesh.drain("e1")
    policy = TrafficPolicy(session_affinity=SessionAffinity(cookie="c"))
    for kind, there in ((C_CORE, True), (ENVOY, True), (GO, False)):
        found = chosen(mesh, policy, Node("n", kind=kind))
        assert ((0, DRAINING, [("e1", 0)]) in found) == there


def test_nothing() -> None:
    mesh = Mesh()
    mesh.service()
    for kind in (GO, ENVOY):
        for policy in (
            TrafficPolicy(),
            TrafficPolicy(subset_size=1),
            TrafficPolicy(locality_failover=LocalityFailover()),
        ):
            assert chosen(mesh, policy, Node("n", kind=kind, region="r")) == []
