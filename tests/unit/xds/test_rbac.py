"""What the rules let through, by the semantics of Envoy and gRFC A41, against what the policy says."""

from __future__ import annotations

import pytest
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.rbac.v3.rbac_pb2 import Permission, Principal
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from sira_grpc.xds import rbac
from sira_grpc.xds.node import Node
from sira_grpc.xds.world import World
from tests.unit.xds.policies import BANK, ECHO, PYTHON, SIDECAR, TRUST_DOMAIN, service, world

CHECK, ADD, LIST = "/grpc.health.v1.Health/Check", "/shop.Cart/Add", "/shop.Cart/List"
FRONT, PAY, MEMBER = "ns/shop/svc/front", "ns/pay/svc/bank", "member/m1"


def ruled(policy: str, trust_domain: str = TRUST_DOMAIN) -> World:
    text = f"access_policy {{ {policy} }} traffic_policy {{ tls: TLS_MODE_MUTUAL }}"
    return world(service(text=text), service(BANK), trust_domain=trust_domain)


def rules(where: World, node: Node = PYTHON) -> rbac_pb2.RBAC:
    found = rbac.access(where, node)
    assert found is not None
    return found.rules


def string(matcher: StringMatcher, value: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    assert kind in {"exact", "prefix"}
    return value == matcher.exact if kind == "exact" else value.startswith(matcher.prefix)


def permits(permission: Permission, method: str) -> bool:
    return permission.any or string(permission.url_path.path, method)


def is_(principal: Principal, caller: str) -> bool:
    return string(principal.authenticated.principal_name, caller)


def allowed(told: rbac_pb2.RBAC, caller: str, method: str, domain: str = TRUST_DOMAIN) -> bool:
    assert told.action == rbac_pb2.RBAC.Action.ALLOW
    identity = f"spiffe://{domain}/{caller}" if caller else ""
    return any(
        any(permits(each, method) for each in policy.permissions)
        and any(is_(each, identity) for each in policy.principals)
        for policy in told.policies.values()
    )


@pytest.mark.parametrize(
    ("source", "yes", "no"),
    [
        ("namespaces/shop/services/front", [FRONT], [PAY, "ns/shop/svc/front2", "ns/shop/svc/fron", MEMBER, ""]),
        ("namespaces/pay/services/-", [PAY], [FRONT, "ns/pay2/svc/bank", "ns/pay/job/x", MEMBER, ""]),
        ("namespaces/-/services/-", [FRONT, PAY], [MEMBER, "operator/admin", "node/n1", ""]),
    ],
)
def test_sources(source: str, yes: list[str], no: list[str]) -> None:
    told = rules(ruled(f'allow {{ sources: "{source}" }}'))
    assert [allowed(told, caller, ADD) for caller in yes] == [True] * len(yes)
    assert [allowed(told, caller, ADD) for caller in no] == [False] * len(no)


def test_nobody_of_another_trust_domain() -> None:
    told = rules(ruled('allow { sources: "namespaces/-/services/-" }'))
    for domain in ("example.org.evil", "example.com", "xexample.org"):
        assert not allowed(told, FRONT, ADD, domain)


@pytest.mark.parametrize(
    ("method", "yes", "no"),
    [
        ("/shop.Cart/Add", [ADD], [LIST, "/shop.Cart/AddAll", "/shop.Cart"]),
        ("/shop.Cart/*", [ADD, LIST], ["/shop.CartAdmin/Add", "/shop.Cart", "/x.shop.Cart/Add"]),
    ],
)
def test_methods(method: str, yes: list[str], no: list[str]) -> None:
    told = rules(ruled(f'allow {{ sources: "namespaces/shop/services/front" methods: "{method}" }}'))
    assert [allowed(told, FRONT, each) for each in yes] == [True] * len(yes)
    assert [allowed(told, FRONT, each) for each in no] == [False] * len(no)


def test_each_rule_is_for_its_own_sources_and_methods() -> None:
    told = rules(
        ruled(f"""
            allow {{ sources: "namespaces/shop/services/front" methods: "{ADD}" }}
            allow {{ sources: "namespaces/pay/services/bank" methods: "{LIST}" }}
        """)
    )
    answers = {(who, what): allowed(told, who, what) for who in (FRONT, PAY) for what in (ADD, LIST)}
    assert answers == {(FRONT, ADD): True, (FRONT, LIST): False, (PAY, ADD): False, (PAY, LIST): True}


def test_no_rules_let_nobody_through_but_the_probes_of_members() -> None:
    told = rules(ruled(""))
    assert not any(allowed(told, who, ADD) for who in (FRONT, PAY, MEMBER, ""))
    assert allowed(told, MEMBER, CHECK)
    assert not allowed(told, FRONT, CHECK)


def test_without_a_policy_everybody_may_call() -> None:
    assert rbac.access(world(service(), trust_domain=TRUST_DOMAIN), PYTHON) is None
    assert rbac.access(ruled(""), Node(id="n", service="namespaces/shop/services/nobody")) is None
    assert rbac.access(ruled(""), Node(id="n")) is None


def test_the_rules_are_those_of_the_service_that_the_client_runs_for() -> None:
    where = ruled('allow { sources: "namespaces/shop/services/front" }')
    assert rules(where, SIDECAR) == rules(where, Node(id="n", service=ECHO))
    assert rbac.access(where, Node(id="n", service=BANK)) is None


def test_without_identities_rules_let_nobody_through() -> None:
    told = rules(ruled('allow { sources: "namespaces/-/services/-" }', trust_domain=""))
    assert not any(allowed(told, who, what) for who in (FRONT, MEMBER, "") for what in (ADD, CHECK))


def test_nobody() -> None:
    told = rbac.nobody()
    assert told.HasField("rules"), "without rules the filter lets everybody through"
    assert not told.rules.policies
    assert told.rules.action == rbac_pb2.RBAC.Action.ALLOW
