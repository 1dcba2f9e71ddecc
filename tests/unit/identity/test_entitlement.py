"""Who may have what issued: the rules as a table."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sira_grpc.errors import IdentityNotAllowed, Unauthenticated
from sira_grpc.identity.callers import Caller
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.unit.identity.world import API, DOMAIN, NODE, SERVICES, WEB, World

ROOT = f"spiffe://{DOMAIN}"
OPERATOR = f"{ROOT}/operator/ann"
PLUGIN = f"{ROOT}/plugin/p"
MEMBER = f"{ROOT}/member/m"
OTHER = f"{ROOT}/some/other/thing"
ELSEWHERE = "spiffe://other.test/ns/default/svc/web"
WEB_DNS, API_DNS = (f"{name}.default.{DOMAIN}" for name in ("web", "api"))
TARGETS = (WEB, API, NODE, OPERATOR, PLUGIN, MEMBER, OTHER, ELSEWHERE)


@dataclass(frozen=True)
class Who:
    """A holder of a certificate: for whom, with which DNS names, and what its join token allows besides."""

    identity: str
    dns_names: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    delegated: tuple[str, ...] = ()

    async def caller(self, world: World) -> Caller:
        allowed = (*self.dns_names, *self.allowed)
        held = await world.join(self.identity, *self.dns_names, dns_names=allowed, delegated=self.delegated)
        return world.caller(held)


SERVICE = Who(WEB)
NAMED = Who(WEB, dns_names=("web.example.org",))
PATTERNED = Who(WEB, allowed=("*.example.org",))
NAMING_NODE = Who(NODE, allowed=("*.example.org",), delegated=(SERVICES,))
BARE_NODE = Who(NODE)
FULL_NODE = Who(NODE, delegated=(SERVICES, PLUGIN))
NODE_OF_NODES = Who(NODE, delegated=(f"{ROOT}/node/*",))
CHIEF = Who(OPERATOR)
HOLDERS = (SERVICE, NAMED, BARE_NODE, FULL_NODE, NODE_OF_NODES, CHIEF, Who(PLUGIN), Who(MEMBER), Who(OTHER))

ALLOWED: dict[Who, set[str]] = {
    SERVICE: {WEB},
    NAMED: {WEB},
    BARE_NODE: {NODE},
    FULL_NODE: {NODE, WEB, API, PLUGIN},
    NODE_OF_NODES: {NODE},
    CHIEF: {WEB, API, NODE, OPERATOR, PLUGIN, MEMBER, OTHER},
    Who(PLUGIN): {PLUGIN},
    Who(MEMBER): {MEMBER},
    Who(OTHER): {OTHER},
}
"""Whom each may have certificates and tokens issued for."""


@pytest.mark.parametrize("who", HOLDERS, ids=lambda who: f"{who.identity} {' '.join(who.delegated)}")
async def test_whom_a_holder_may_have_issued(world: World, who: Who) -> None:
    caller = await who.caller(world)
    for target in TARGETS:
        if target in ALLOWED[who]:
            assert (await world.issue(target, caller=caller)).record.identity == target
            assert str(world.identity.issuer.jwt(target, ["a"], ttl=60, caller=caller)[1]) == target
            continue
        with pytest.raises(IdentityNotAllowed) as caught:
            await world.issue(target, caller=caller)
        assert caught.value.metadata == {"identity": target}
        with pytest.raises(IdentityNotAllowed):
            world.identity.issuer.jwt(target, ["a"], ttl=60, caller=caller)


async def test_a_node_may_have_other_nodes_issued_where_that_is_delegated(world: World) -> None:
    caller = await NODE_OF_NODES.caller(world)
    await world.issue(f"{ROOT}/node/n2", caller=caller)
    with pytest.raises(IdentityNotAllowed, match="is not delegated to"):
        await world.issue(WEB, caller=caller)


async def test_what_a_node_had_issued_may_have_nothing_issued_for_the_node(world: World) -> None:
    node = await FULL_NODE.caller(world)
    caller = world.caller(await world.issue(PLUGIN, caller=node))
    for target in (NODE, WEB):
        with pytest.raises(IdentityNotAllowed, match="for itself only"):
            await world.issue(target, caller=caller)


DNS: dict[str, tuple[Who, str, tuple[str, ...], str]] = {
    "the name of the service comes with it": (SERVICE, WEB, (WEB_DNS,), ""),
    "another service's name does not": (SERVICE, WEB, (API_DNS,), f"the DNS name {API_DNS} belongs to another"),
    "one of choice does not": (SERVICE, WEB, ("a.example.org",), "is not good for the DNS name a.example.org"),
    "what is held is kept": (NAMED, WEB, ("web.example.org", WEB_DNS), ""),
    "and nothing besides": (NAMED, WEB, ("web.example.org", "a.example.org"), "not good for the DNS name a.example"),
    "what the token allowed may come later": (PATTERNED, WEB, ("later.example.org",), ""),
    "a node chooses none for others": (FULL_NODE, WEB, ("a.example.org",), "is not good for the DNS name a.example"),
    "unless its token allowed it": (NAMING_NODE, WEB, ("a.example.org", WEB_DNS), ""),
    "but gets the service's": (FULL_NODE, WEB, (WEB_DNS,), ""),
    "an operator chooses": (CHIEF, WEB, ("a.example.org", "10.example.org"), ""),
    "but not what is another's": (CHIEF, WEB, (API_DNS,), f"the DNS name {API_DNS} belongs to another"),
    "nor the kernel's": (CHIEF, WEB, (f"kernel.{DOMAIN}",), f"kernel.{DOMAIN} belongs to another"),
    "nor a pattern of others'": (CHIEF, WEB, (f"*.default.{DOMAIN}",), "belongs to another"),
    "nor a pattern of the kernel's": (CHIEF, WEB, (f"*.{DOMAIN}",), "belongs to another"),
    "what no identity has is free": (CHIEF, WEB, (DOMAIN, f"a.b.c.{DOMAIN}", f"www.{DOMAIN}"), ""),
    "a member gets the kernel's": (CHIEF, MEMBER, (f"kernel.{DOMAIN}",), ""),
    "for itself too": (CHIEF, OPERATOR, ("ann.example.org",), ""),
}


@pytest.mark.parametrize("case", DNS)
async def test_dns_names_of_holders(world: World, case: str) -> None:
    who, target, names, refusal = DNS[case]
    caller = await who.caller(world)
    if refusal:
        with pytest.raises(IdentityNotAllowed, match=refusal):
            await world.issue(target, *names, caller=caller)
        return
    held = await world.issue(target, *names, caller=caller)
    own = SpiffeId.parse(target).dns_name
    assert set(held.record.dns_names) == {*names, *([own] if own else [])}


TOKENS: dict[str, tuple[list[str], list[str], str, tuple[str, ...], str]] = {
    "the identity": ([WEB], [], WEB, (), ""),
    "another one": ([WEB], [], API, (), f"the join token is not good for {API}"),
    "a longer one": ([WEB], [], f"{WEB}/more", (), "not good for"),
    "a shorter one": ([f"{WEB}/more"], [], WEB, (), "not good for"),
    "one of a pattern": ([SERVICES], [], API, (), ""),
    "one of another namespace": ([SERVICES], [], f"{ROOT}/ns/other/svc/web", (), "not good for"),
    "a star covers one segment": ([f"{ROOT}/*"], [], NODE, (), "not good for"),
    "two stars two": ([f"{ROOT}/*/*"], [], NODE, (), ""),
    "the second of two": ([API, NODE], [], NODE, (), ""),
    "one of another trust domain": ([SERVICES], [], ELSEWHERE, (), "not good for"),
    "the service's name": ([WEB], [], WEB, (WEB_DNS,), ""),
    "another service's name": ([WEB], [], WEB, (API_DNS,), f"the DNS name {API_DNS} belongs to another"),
    "even if it says so": ([WEB], [API_DNS, f"*.default.{DOMAIN}"], WEB, (API_DNS,), "belongs to another identity"),
    "a name of it": ([WEB], ["a.example.org"], WEB, ("a.example.org",), ""),
    "another name": ([WEB], ["a.example.org"], WEB, ("b.example.org",), "not good for the DNS name b.example.org"),
    "a name of a pattern": ([WEB], ["*.example.org"], WEB, ("b.example.org",), ""),
    "a pattern covers one label": ([WEB], ["*.example.org"], WEB, ("c.b.example.org",), "not good for the DNS name"),
    "and not none": ([WEB], ["*.example.org"], WEB, ("example.org",), "not good for the DNS name"),
    "upper case is no matter": ([WEB], ["a.example.org"], WEB, ("A.Example.ORG",), ""),
    "one good name and one that is not": ([WEB], ["a.org"], WEB, ("a.org", "b.org"), "not good for the DNS name b.org"),
    "the name of a service that is not asked for": ([NODE, WEB], [], NODE, (WEB_DNS,), "belongs to another"),
}


@pytest.mark.parametrize("case", TOKENS)
async def test_what_a_join_token_is_good_for(world: World, case: str) -> None:
    identities, dns_names, target, names, refusal = TOKENS[case]
    secret = await world.token(*identities, dns_names=dns_names)
    if not refusal:
        await world.issue(target, *names, join_token=secret)
        return
    with pytest.raises(IdentityNotAllowed, match=refusal):
        await world.issue(target, *names, join_token=secret)
    assert world.identity.tokens.usable == 1  # it was not used up


async def test_without_a_ground_nothing_is_issued(world: World) -> None:
    with pytest.raises(Unauthenticated, match="a certificate or a join token is needed"):
        await world.issue(WEB)
    with pytest.raises(Unauthenticated):
        world.identity.issuer.jwt("", ["a"], ttl=60, caller=None)
    with pytest.raises(Unauthenticated):
        world.identity.issuer.jwt(WEB, ["a"], ttl=60, caller=None)


@pytest.mark.parametrize("who", [SERVICE, FULL_NODE, CHIEF])
async def test_a_token_is_no_ground(world: World, who: Who) -> None:
    held = await world.join(who.identity, delegated=who.delegated)
    bearer = world.identity.callers.by_token(world.jwt(held))
    for target in (who.identity, API):
        with pytest.raises(Unauthenticated, match="a token does not have others issued"):
            await world.issue(target, caller=bearer)
        with pytest.raises(Unauthenticated):
            world.identity.issuer.jwt(target, ["a"], ttl=60, caller=bearer)
