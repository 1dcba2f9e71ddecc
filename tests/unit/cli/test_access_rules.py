"""Changes of who may call a service: never more, and never less, than was said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.access_policy_pb2 import AccessPolicy

from sira_grpc.cli.access_rules import MAX_IN_RULE, AllowedWholly, allow, deny, wider

A, B, SHOP = "namespaces/x/services/a", "namespaces/x/services/b", "namespaces/shop/services/-"
GET, PUT, ALL = "/k.V/Get", "/k.V/Put", "/k.V/*"


def rules(policy: AccessPolicy) -> list[tuple[list[str], list[str]]]:
    """The rules as plain data."""
    return [(list(rule.sources), list(rule.methods)) for rule in policy.allow]


def test_sources_of_the_same_methods_share_a_rule() -> None:
    policy = AccessPolicy()
    assert allow(policy, A, [])
    assert allow(policy, B, [])
    assert allow(policy, SHOP, [GET])
    assert rules(policy) == [([A, B], []), ([SHOP], [GET])]


def test_methods_are_added_to_what_a_source_has() -> None:
    policy = AccessPolicy()
    allow(policy, A, [GET])
    assert allow(policy, A, [GET, PUT, PUT])
    assert rules(policy) == [([A], [GET, PUT])]


def test_nothing_is_added_twice() -> None:
    policy = AccessPolicy()
    allow(policy, A, [GET])
    assert not allow(policy, A, [GET])
    allow(policy, A, [])
    assert rules(policy) == [([A], [])]
    assert not allow(policy, A, [])
    assert not allow(policy, A, [PUT]), "it may call everything"


def test_what_is_denied_is_gone_and_others_keep_theirs() -> None:
    policy = AccessPolicy()
    for source in (A, B):
        allow(policy, source, [GET, PUT])
    assert deny(policy, A, [GET])
    assert rules(policy) == [([B], [GET, PUT]), ([A], [PUT])]
    assert deny(policy, B, [])
    assert not deny(policy, B, [])
    assert deny(policy, A, [PUT])
    assert rules(policy) == []


def test_single_methods_cannot_be_taken_from_everything() -> None:
    policy = AccessPolicy()
    allow(policy, A, [])
    with pytest.raises(AllowedWholly):
        deny(policy, A, [GET])
    assert not deny(policy, B, [GET])


def test_other_rules_that_cover_a_source_are_found() -> None:
    policy = AccessPolicy()
    everybody, home, cart = "namespaces/-/services/-", "namespaces/x/services/-", "namespaces/shop/services/cart"
    allow(policy, everybody, [ALL])
    allow(policy, home, ["/l.W/Get"])
    allow(policy, A, [GET])
    allow(policy, cart, [])
    assert wider(policy, A, []) == [everybody, home]
    assert wider(policy, A, [GET]) == [everybody]
    assert wider(policy, A, ["/l.W/*"]) == [home]
    assert wider(policy, A, ["/m.X/Y"]) == []
    assert wider(policy, SHOP, []) == [everybody, cart]


def test_rules_keep_to_their_limits() -> None:
    policy = AccessPolicy()
    for number in range(MAX_IN_RULE + 1):
        allow(policy, f"namespaces/x/services/s{number}", [])
    allow(policy, A, [f"/k.V/M{number}" for number in range(2 * MAX_IN_RULE + 1)])
    assert all(len(sources) <= MAX_IN_RULE and len(methods) <= MAX_IN_RULE for sources, methods in rules(policy))
    assert sum(len(methods) for _, methods in rules(policy)) == 2 * MAX_IN_RULE + 1


STEPS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([A, B, SHOP]), st.lists(st.sampled_from([GET, PUT, ALL]), max_size=3)),
    max_size=12,
)


@given(STEPS)
def test_what_is_allowed_is_what_was_said(steps: list[tuple[bool, str, list[str]]]) -> None:
    policy = AccessPolicy()
    model: dict[str, set[str] | None] = {}
    for allows, source, methods in steps:
        before = model.get(source, set())
        if allows:
            allow(policy, source, methods)
            model[source] = None if before is None or not methods else before | set(methods)
        elif not methods:
            deny(policy, source, methods)
            model[source] = set()
        elif before is not None:
            deny(policy, source, methods)
            model[source] = before - set(methods)
    allowed: dict[str, set[str] | None] = {}
    for sources, methods in rules(policy):
        assert sources, "a rule of nobody"
        for source in sources:
            held = allowed.get(source, set())
            allowed[source] = None if held is None or not methods else held | set(methods)
    assert allowed == {source: held for source, held in model.items() if held is None or held}
