from __future__ import annotations

import pytest
from sira.registry.v1.service_pb2 import Service
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.errors import PolicyNotSupported
from sira_grpc.xds.capabilities import FEATURES, KINDS, check, unsupported
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN
from tests.unit.xds.policies import policed, service

MIRROR = 'mirror { destination { version: "v2" } percent: 1 }'
AFFINITY = 'session_affinity { cookie: "c" }'
ABSENT = " ".join(f'headers {{ name: "k{n}" exact: "x" invert: true }}' for n in range(5))
PRESENT = " ".join(f'headers {{ name: "k{n}" present: true invert: true }}' for n in range(5))
ALL = f"""
    lb_policy: LB_POLICY_RING_HASH hash_header: "k" subset_size: 3
    locality_failover {{}} slow_start {{ window {{ seconds: 5 }} }}
    retry {{ retry_on: RETRY_ON_UNAVAILABLE }} circuit_breakers {{ max_requests: 5 }}
    outlier_detection {{ success_rate {{}} failure_percentage {{}} }} fault {{ abort {{ code: 5 percent: 5 }} }}
    routes {{ matches {{ path_prefix: "/a.B/" {PRESENT} }} splits {{ weight: 1 }} }} tls: TLS_MODE_MUTUAL
"""
EVERYTHING = f"{MIRROR} {AFFINITY} routes {{ matches {{ {ABSENT} }} {MIRROR} }} timeout {{ seconds: 1 }}"


def fields(policed_service: Service, kind: ClientKind.ValueType, *, refused: bool) -> list[str]:
    told = unsupported(policed_service, kind)
    assert all(each.why and each.source for each in told)
    return [each.field.removeprefix("service.traffic_policy.") for each in told if each.refused == refused]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_every_kind_does(kind: ClientKind.ValueType) -> None:
    assert unsupported(policed(ALL), kind) == []
    assert unsupported(service(), kind) == []


@pytest.mark.parametrize(
    ("policy", "refusing", "path"),
    [
        (MIRROR, {C_CORE, GO, JAVA, NODE_JS}, "mirror"),
        (f"routes {{}} routes {{ {MIRROR} }}", {C_CORE, GO, JAVA, NODE_JS}, "routes[1].mirror"),
        (AFFINITY, {GO, JAVA, NODE_JS}, "session_affinity"),
        (f"routes {{ matches {{}} matches {{ {ABSENT} }} }}", {C_CORE, GO, JAVA}, "routes[0].matches[1].headers"),
    ],
)
def test_what_is_refused(policy: str, refusing: set[ClientKind.ValueType], path: str) -> None:
    for kind in KINDS:
        assert fields(policed(policy), kind, refused=True) == ([path] if kind in refusing else []), kind


@pytest.mark.parametrize(
    ("policy", "limited", "path"),
    [
        ("lb_policy: LB_POLICY_LEAST_REQUEST", {C_CORE, NODE_JS, UNKNOWN}, "lb_policy"),
        ("lb_policy: LB_POLICY_RANDOM", {C_CORE, GO, JAVA, NODE_JS, UNKNOWN}, "lb_policy"),
        ("lb_policy: LB_POLICY_ORCA_WEIGHTED", {NODE_JS, UNKNOWN}, "lb_policy"),
        (
            "circuit_breakers { max_connections: 1 }",
            {C_CORE, GO, JAVA, NODE_JS, UNKNOWN},
            "circuit_breakers.max_connections",
        ),
        (
            "circuit_breakers { max_pending_requests: 1 }",
            {C_CORE, GO, JAVA, NODE_JS, UNKNOWN},
            "circuit_breakers.max_pending_requests",
        ),
        ("timeout { seconds: 1 }", {C_CORE}, "timeout"),
        ("routes { timeout { seconds: 1 } }", {C_CORE}, "routes[0].timeout"),
    ],
)
def test_what_a_kind_comes_near_to(policy: str, limited: set[ClientKind.ValueType], path: str) -> None:
    for kind in KINDS:
        assert fields(policed(policy), kind, refused=False) == ([path] if kind in limited else []), kind
        check(policed(policy), [kind])


def test_access_rules_need_a_setting_in_node() -> None:
    ruled = service(text="access_policy {}")
    assert {kind for kind in KINDS if unsupported(ruled, kind)} == {NODE_JS}
    check(ruled, KINDS)


def test_a_refusal_says_which_field_and_for_whom() -> None:
    with pytest.raises(PolicyNotSupported) as raised:
        check(policed(AFFINITY), [ENVOY, C_CORE, JAVA])

    error = raised.value
    assert error.metadata["field"] == "service.traffic_policy.session_affinity"
    assert error.metadata["kind"] == "JAVA"
    assert error.metadata["resource"] == "namespaces/shop/services/echo"
    assert "session_affinity" in error.message
    assert "stateful_session" in error.message


def test_nobody_is_in_the_way_who_is_not_there() -> None:
    check(policed(EVERYTHING), [])
    check(policed(EVERYTHING), [ENVOY, ENVOY])


def test_one_that_does_not_say_what_it_is_is_not_in_the_way() -> None:
    check(policed(EVERYTHING), [UNKNOWN])
    assert len(fields(policed(EVERYTHING), UNKNOWN, refused=False)) == 4


def test_the_table_is_sound() -> None:
    assert {ENVOY, UNKNOWN, C_CORE, GO, JAVA, NODE_JS} == KINDS == set(ClientKind.values())
    assert len({each.name for each in FEATURES}) == len(FEATURES)
    for each in FEATURES:
        assert each.refused or each.limited, each.name
        assert not each.refused.keys() & each.limited.keys(), each.name
        assert ENVOY not in each.refused, "Envoys are the ones that do everything"
