"""Whatever is registered, clients accept what they are sent, and choose as Resolve does."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, SlowStart
from sira_client.balancing import select

from sira_grpc.xds.node import C_CORE, ENVOY, GO, Node
from sira_grpc.xds.rows import DRAINING
from tests.unit.xds.mesh import SUSPECT, WEB, Mesh, endpoint
from tests.unit.xds.test_endpoints import NOT_SERVING, SERVING, addresses, built, shares


def policies() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "lb_policy": st.sampled_from(LbPolicy.values()),
            "locality_failover": st.builds(LocalityFailover, threshold=st.sampled_from([0.0, 0.5, 1.0])),
            "slow_start": st.just(SlowStart(window=Duration(seconds=50))),
            "subset_size": st.integers(1, 5),
            "session_affinity": st.just(SessionAffinity(cookie="c")),
        },
    )


ENDPOINTS = st.lists(
    st.tuples(
        st.integers(1, 12),  # address
        st.sampled_from([("", ""), ("r", "a"), ("r", "b"), ("q", "a")]),
        st.sampled_from([0, 1, 100, 10_000]),
        st.sampled_from(["", "grpc", "ttl"]),
        st.sampled_from([SERVING, NOT_SERVING, None]),
        st.sampled_from(["held", SUSPECT]),
        st.booleans(),  # drains
        st.integers(0, 12).map(lambda steps: 5 * steps),  # seconds before it: those of one step of slow start are alike
    ),
    max_size=12,
)
NODES = st.builds(
    Node,
    id=st.sampled_from(["a", "b"]),
    kind=st.sampled_from([C_CORE, GO, ENVOY]),
    region=st.sampled_from(["", "r"]),
    zone=st.sampled_from(["", "a"]),
)


@settings(max_examples=150, deadline=None)
@given(policies(), ENDPOINTS, NODES)
def test_what_is_sent_is_accepted_and_is_what_resolve_chooses(policy: dict[str, Any], each: Any, node: Node) -> None:
    mesh = Mesh()
    mesh.service(**policy)
    for number, (address, (region, zone), weight, check, state, lease, drains, wait) in enumerate(each):
        mesh.clock.advance(wait)
        made = endpoint(number, addresses=[f"10.1.0.{address}"], region=region, zone=zone, weight=weight, check=check)
        mesh.endpoint(made, lease=lease)
        if check and state is not None:
            mesh.health(f"e{number}", state)
        if drains:
            mesh.drain(f"e{number}")
    assignment = built(mesh, node)
    check_accepted(assignment)
    entry = mesh.view.services[WEB]
    expected = select(
        [e.message for e in entry.endpoints.values()],
        entry.message.traffic_policy,
        locality=Locality(region=node.region, zone=node.zone),
        client_id=node.id,
        now_ns=mesh.clock.time_ns() // (5 * 10**9) * (5 * 10**9),
    )
    assert addresses(assignment) == {c.endpoint.addresses[0] for c in expected}
    by_load = policy.get("lb_policy") == LbPolicy.LB_POLICY_ORCA_WEIGHTED  # weights of the registry do not count
    if node.envoy or by_load or addresses(assignment, DRAINING):
        return
    active = {c.endpoint.addresses[0]: c.weight for c in expected if c.weight}
    ring = policy.get("lb_policy") == LbPolicy.LB_POLICY_RING_HASH
    got = shares(assignment, ring=ring)
    assert got.keys() == active.keys()
    for address, weight in active.items():
        assert got[address] == pytest.approx(weight / sum(active.values()), rel=0.02, abs=1e-3)


def check_accepted(made: Any) -> None:
    """What gRPC clients reject an assignment for, or silently leave out."""
    places = [(at.locality.SerializeToString(deterministic=True), at.priority) for at in made.endpoints]
    assert len(set(places)) == len(places)
    priorities = {at.priority for at in made.endpoints}
    assert priorities == set(range(len(priorities)))
    where = [
        (e.endpoint.address.socket_address.address, e.endpoint.address.socket_address.port_value)
        for at in made.endpoints
        for e in at.lb_endpoints
    ]
    assert len(set(where)) == len(where)
    for at in made.endpoints:
        assert at.HasField("locality")
        assert at.load_balancing_weight.value > 0
        assert at.lb_endpoints
    for priority in priorities:
        assert sum(at.load_balancing_weight.value for at in made.endpoints if at.priority == priority) < 1 << 32
