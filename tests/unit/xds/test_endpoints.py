from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, SlowStart

from sira_grpc.xds import endpoints
from sira_grpc.xds.endpoints import MAX_OVERPROVISIONING
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN, Node
from tests.unit.xds.mesh import SUSPECT, WEB, Mesh, endpoint

NAME = "web.default"
SERVING = HealthState.HEALTH_STATE_SERVING
NOT_SERVING = HealthState.HEALTH_STATE_NOT_SERVING
HEALTHY, UNHEALTHY, DRAINING = 1, 2, 3
CLIENT = Node("c", kind=GO, region="r", zone="a")
SIDECAR = Node("s", kind=ENVOY, region="r", zone="a")


def built(mesh: Mesh, node: Node = CLIENT, name: str = NAME) -> Any:
    body = endpoints.build(mesh.world, name, node)
    assert body is not None
    made = ClusterLoadAssignment.FromString(body)
    assert made.SerializeToString(deterministic=True) == body  # the pieces are put together as protobuf would
    return made


def told(made: Any) -> dict[tuple[str, str, str, int], tuple[int, list[tuple[str, int, int]]]]:
    """By locality and priority: the weight, and the endpoints with health and weight."""
    return {
        (at.locality.region, at.locality.zone, at.locality.sub_zone, at.priority): (
            at.load_balancing_weight.value,
            [
                (e.endpoint.address.socket_address.address, e.health_status, e.load_balancing_weight.value)
                for e in at.lb_endpoints
            ],
        )
        for at in made.endpoints
    }


def addresses(made: Any, health: int = HEALTHY) -> set[str]:
    return {address for _, each in told(made).values() for address, state, _ in each if state == health}


def shares(made: Any, *, ring: bool = False) -> dict[str, float]:
    """The share of the calls that each healthy endpoint of the first priority gets of a client of gRPC."""
    got: dict[str, float] = {}
    total = sum(at.load_balancing_weight.value for at in made.endpoints if not at.priority)
    for at in made.endpoints:
        if at.priority:
            continue
        inside = sum(e.load_balancing_weight.value or 1 for e in at.lb_endpoints)
        for e in at.lb_endpoints:
            own = (e.load_balancing_weight.value or 1) / inside if ring else 1 / len(at.lb_endpoints)
            got[e.endpoint.address.socket_address.address] = at.load_balancing_weight.value / total * own
    return got


@pytest.fixture
def mesh() -> Mesh:
    made = Mesh()
    made.service()
    return made


def test_no_service_is_none_and_no_endpoints_is_empty(mesh: Mesh) -> None:
    assert endpoints.build(mesh.world, "other.default", CLIENT) is None
    assert endpoints.build(mesh.world, "no|name", CLIENT) is None
    made = built(mesh)
    assert made.cluster_name == NAME
    assert not made.endpoints


@pytest.mark.parametrize("kind", [C_CORE, GO, JAVA, NODE_JS, UNKNOWN, ENVOY])
def test_endpoints_by_place(mesh: Mesh, kind: Any) -> None:
    mesh.endpoints(
        *(endpoint(n, region="r", zone=zone, weight=n) for n, zone in ((1, "a"), (2, "b"), (3, "a"))), endpoint(4)
    )
    assert told(built(mesh, Node("n", kind=kind))) == {
        ("", "", "", 0): (100, [("10.0.0.4", HEALTHY, 0)]),
        ("r", "a", "", 0): (200, [("10.0.0.1", HEALTHY, 0), ("10.0.0.3", HEALTHY, 0)]),
        ("r", "b", "", 0): (100, [("10.0.0.2", HEALTHY, 0)]),
    }
    assert all(at.HasField("locality") for at in built(mesh).endpoints)


def test_only_what_takes_calls(mesh: Mesh) -> None:
    mesh.endpoints(*(endpoint(n, check="grpc") for n in range(1, 6)))
    for id_, state in (("e2", SERVING), ("e3", NOT_SERVING), ("e4", SERVING)):
        mesh.health(id_, state)
    mesh.drain("e4")
    mesh.endpoint(endpoint(6), lease=SUSPECT)
    mesh.endpoint(endpoint(7))
    assert addresses(built(mesh)) == {"10.0.0.2", "10.0.0.7"}
    made = built(mesh, SIDECAR)
    assert addresses(made) == {"10.0.0.2", "10.0.0.7"}
    assert addresses(made, UNHEALTHY) == {"10.0.0.1", "10.0.0.3", "10.0.0.5", "10.0.0.6"}
    assert addresses(made, DRAINING) == set()


def test_a_suspect_is_better_than_nothing(mesh: Mesh) -> None:
    mesh.endpoint(endpoint(1), lease=SUSPECT)
    mesh.endpoint(endpoint(2, check="grpc"))
    assert addresses(built(mesh)) == {"10.0.0.1"}
    assert addresses(built(mesh, SIDECAR)) == {"10.0.0.1"}
    mesh.health("e2", NOT_SERVING)
    assert addresses(built(mesh)) == {"10.0.0.1"}
    mesh.health("e2", SERVING)
    assert addresses(built(mesh)) == {"10.0.0.2"}


def test_those_that_drain_are_sent_where_sessions_stay_at_them(mesh: Mesh) -> None:
    mesh.service(session_affinity=SessionAffinity(cookie="c"))
    mesh.endpoints(endpoint(1, zone="a"), endpoint(2, zone="b"))
    mesh.drain("e2")
    for kind in (C_CORE, ENVOY):
        assert addresses(built(mesh, Node("n", kind=kind)), DRAINING) == {"10.0.0.2"}
    assert addresses(built(mesh), DRAINING) == set()
    mesh.drain("e1")
    assert addresses(built(mesh, Node("n", kind=C_CORE)), DRAINING) == {"10.0.0.1", "10.0.0.2"}
    assert all(at.load_balancing_weight.value for at in built(mesh, Node("n", kind=C_CORE)).endpoints)


def test_one_endpoint_at_one_address(mesh: Mesh) -> None:
    mesh.endpoint(endpoint(1, addresses=["::1"]))
    mesh.clock.advance(1)
    mesh.endpoint(endpoint(2, addresses=["0:0:0:0:0:0:0:1"], version="v2"))
    made = built(mesh)
    assert told(made) == {("", "", "", 0): (100, [("::1", HEALTHY, 0)])}
    # What an earlier process left behind is no part of a subset either.
    assert not built(mesh, name="web.default|version=v1").endpoints
    assert built(mesh, name="web.default|version=v2").endpoints
    mesh.delete_endpoint("e2")
    assert addresses(built(mesh)) == {"::1"}
    mesh.endpoint(endpoint(3, addresses=["::1"], port=81))
    assert len(built(mesh).endpoints[0].lb_endpoints) == 2


def test_addresses(mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    mesh.endpoint(endpoint(1, addresses=["web-1.example", "10.9.9.9", "10.9.9.8"]))
    mesh.endpoint(endpoint(2, addresses=["localhost"], port=8080))
    for number in (3, 4):
        mesh.endpoint(endpoint(number, addresses=["web-3.example", "1.2.3", "01.2.3.4", "::g"]))
    assert addresses(built(mesh)) == {"10.9.9.9", "127.0.0.1"}
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [f"{WEB}/endpoints/e3"]


def test_subsets(mesh: Mesh) -> None:
    mesh.endpoint(endpoint(1, version="v1", metadata={"tier": "gold"}))
    mesh.endpoint(endpoint(2, version="v2", metadata={"tier": "gold"}))
    mesh.endpoint(endpoint(3, version="v2"))
    for name, expected in (("version=v2", {"10.0.0.2", "10.0.0.3"}), ("version=v2|tier=gold", {"10.0.0.2"})):
        made = built(mesh, name=f"{NAME}|{name}")
        assert made.cluster_name == f"{NAME}|{name}"
        assert addresses(made) == expected


def test_weights_are_localities_for_clients_of_grpc_and_weights_for_envoys(mesh: Mesh) -> None:
    mesh.service(lb_policy=LbPolicy.LB_POLICY_WEIGHTED)
    mesh.endpoints(endpoint(1, zone="a", weight=100), endpoint(2, zone="a", weight=300), endpoint(3, zone="a"))
    assert told(built(mesh)) == {
        ("", "a", "w100", 0): (200, [("10.0.0.1", HEALTHY, 0), ("10.0.0.3", HEALTHY, 0)]),
        ("", "a", "w300", 0): (300, [("10.0.0.2", HEALTHY, 0)]),
    }
    assert told(built(mesh, SIDECAR)) == {
        ("", "a", "", 0): (500, [("10.0.0.1", HEALTHY, 100), ("10.0.0.2", HEALTHY, 300), ("10.0.0.3", HEALTHY, 100)])
    }


def test_ring_hash_has_one_locality_with_weights(mesh: Mesh) -> None:
    mesh.service(lb_policy=LbPolicy.LB_POLICY_RING_HASH, slow_start=SlowStart(window=Duration(seconds=9)))
    mesh.endpoints(endpoint(1, zone="a", weight=100), endpoint(2, zone="b", weight=300))
    assert told(built(mesh)) == {("", "", "", 0): (1, [("10.0.0.1", HEALTHY, 100), ("10.0.0.2", HEALTHY, 300)])}


def test_many_weights_share_localities(mesh: Mesh) -> None:
    mesh.service(lb_policy=LbPolicy.LB_POLICY_WEIGHTED)
    mesh.endpoints(*(endpoint(n, weight=n) for n in range(1, 1001)))
    made = built(mesh)
    assert len(made.endpoints) < 64
    got = shares(made)
    total = sum(range(1, 1001))
    for n in range(1, 1001):
        assert got[f"10.0.{n >> 8}.{n & 255}"] == pytest.approx(n / total, rel=0.16)


def test_tiers_of_an_envoy(mesh: Mesh) -> None:
    mesh.service(locality_failover=LocalityFailover(threshold=0.5))
    mesh.endpoints(
        endpoint(1, region="r", zone="a", check="grpc"),
        endpoint(2, region="r", zone="a"),
        endpoint(3, region="q", zone="a"),
    )
    made = built(mesh, SIDECAR)
    assert told(made) == {
        ("r", "a", "", 0): (100, [("10.0.0.2", HEALTHY, 0), ("10.0.0.1", UNHEALTHY, 0)]),
        ("q", "a", "", 1): (100, [("10.0.0.3", HEALTHY, 0)]),
    }
    assert made.policy.overprovisioning_factor.value == 200
    nowhere = built(mesh, Node("n", kind=ENVOY))
    assert {at.priority for at in nowhere.endpoints} == {0}


@pytest.mark.parametrize("threshold", [5e-324, 1e-310, 1e-6])
def test_the_least_of_thresholds(mesh: Mesh, threshold: float) -> None:
    mesh.service(locality_failover=LocalityFailover(threshold=threshold))
    made = built(mesh, Node("n", kind=ENVOY, region="r", zone="a"))
    assert made.policy.overprovisioning_factor.value == MAX_OVERPROVISIONING


def test_tiers_that_share_calls_are_one_priority_for_clients_of_grpc(mesh: Mesh) -> None:
    mesh.service(locality_failover=LocalityFailover(threshold=1))
    mesh.endpoints(*(endpoint(n, region="r", zone="a", check="grpc") for n in (1, 2, 3, 4)))
    mesh.endpoints(endpoint(5, region="r", zone="b"), endpoint(6, region="q", zone="a"))
    mesh.health("e1", SERVING)
    made = built(mesh)
    assert shares(made) == {"10.0.0.1": pytest.approx(0.25), "10.0.0.5": pytest.approx(0.75)}
    assert {(at.locality.region, at.priority) for at in made.endpoints} == {("r", 0), ("q", 1)}
    for n in (2, 3, 4):
        mesh.health(f"e{n}", SERVING)
    assert [(at.locality.zone, at.priority) for at in built(mesh).endpoints] == [("a", 0), ("b", 1), ("a", 2)]


def test_slow_start_ramps_a_locality_of_its_own(mesh: Mesh) -> None:
    mesh.service(slow_start=SlowStart(window=Duration(seconds=100)))
    mesh.endpoint(endpoint(1))
    mesh.clock.advance(1000)
    mesh.endpoints(endpoint(2), endpoint(3))
    weights = []
    for _ in range(11):
        made = built(mesh)
        by_count = {len(at.lb_endpoints): at for at in made.endpoints}
        weights.append(
            by_count[2].load_balancing_weight.value / by_count[1].load_balancing_weight.value if 2 in by_count else 2
        )
        assert built(mesh, SIDECAR).endpoints[0].load_balancing_weight.value == 300
        mesh.clock.advance(10)
    assert weights == sorted(weights)
    assert weights[0] == pytest.approx(0.2)
    assert [len(at.lb_endpoints) for at in built(mesh).endpoints] == [3]


def test_a_client_uses_its_subset(mesh: Mesh) -> None:
    mesh.service(subset_size=3)
    mesh.endpoints(*(endpoint(n) for n in range(30)))
    used: defaultdict[str, int] = defaultdict(int)
    for client in range(100):
        for kind in (GO, ENVOY):
            mine = addresses(built(mesh, Node(f"c{client}", kind=kind)))
            assert len(mine) == 3
        for address in mine:
            used[address] += 1
    assert len(used) == 30
    assert built(mesh, Node("c1", kind=GO)) == built(mesh, Node("c1", kind=JAVA))
