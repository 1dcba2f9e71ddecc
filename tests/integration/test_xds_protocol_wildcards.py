"""Clients of xDS that want all there is of a type: by the old rule and by the new, alone and beside names."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER
from tests.integration.xds_client import MODES, Mode, envoy_node
from tests.integration.xds_kernel import XdsKernel, running, split

pytestmark = pytest.mark.asyncio(loop_scope="module")
WILDCARD = "*"
both = pytest.mark.parametrize("mode", MODES)
how = pytest.mark.parametrize("asked", [(), (WILDCARD,)], ids=["legacy", "explicit"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("kernel")) as made:
        yield made


@both
@how
async def test_all_clusters_that_concern_it(kernel: XdsKernel, mode: Mode, asked: tuple[str, ...]) -> None:
    one, two, _ = [await kernel.service("e1") for _ in range(3)]
    async with kernel.client(mode, envoy_node(one, two)) as client:
        assert set((await client.get(CLUSTER, *asked)).resources) == {one, two}
        await client.quiet(ENDPOINTS)
        await kernel.still(client, ENDPOINTS)


@both
async def test_all_clusters_of_the_kernel(kernel: XdsKernel, mode: Mode) -> None:
    one = await kernel.service("e1")
    async with kernel.client(mode, envoy_node()) as client:
        everything = set((await client.get(CLUSTER)).resources)
        assert one in everything
        two = await kernel.service("e1")
        answer = await client.told(CLUSTER)
        assert set(answer.resources) == (everything | {two} if mode == "sotw" else {two})


@both
@how
async def test_all_listeners(kernel: XdsKernel, mode: Mode, asked: tuple[str, ...]) -> None:
    node = envoy_node(egress_port=15001, ports=[(8080, 50051), (8081, 50052)])
    async with kernel.client(mode, node) as client:
        assert set((await client.get(LISTENER, *asked)).resources) == {"egress", "inbound:8080", "inbound:8081"}
        await client.quiet(ENDPOINTS)
        await kernel.still(client, ENDPOINTS)


@both
@how
async def test_all_of_nothing_is_an_answer(kernel: XdsKernel, mode: Mode, asked: tuple[str, ...]) -> None:
    """A client that has just come waits for it."""
    async with kernel.client(mode, envoy_node("nothing.default", egress_port=0)) as client:
        for type_url in (CLUSTER, LISTENER):
            answer = await client.get(type_url, *asked)
            assert (answer.resources, answer.gone) == ({}, set())
        await client.quiet(ENDPOINTS)


@both
@how
async def test_what_comes_and_goes(kernel: XdsKernel, mode: Mode, asked: tuple[str, ...]) -> None:
    one = await kernel.service("e1")
    name = f"new-{mode}-{len(asked)}.default"
    async with kernel.client(mode, envoy_node(one, name)) as client:
        assert set((await client.get(CLUSTER, *asked)).resources) == {one}
        await kernel.service(name=name)
        answer = await client.told(CLUSTER)
        assert set(answer.resources) == ({one, name} if mode == "sotw" else {name})
        await kernel.delete(name)
        answer = await client.told(CLUSTER)
        assert (set(answer.resources), answer.gone) == (({one}, set()) if mode == "sotw" else (set(), {name}))
        await client.quiet(ENDPOINTS)


@both
async def test_subsets_that_a_policy_refers_to(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    subsets = {f"{name}|version=v1", f"{name}|version=v2"}
    async with kernel.client(mode, envoy_node(name)) as client:
        assert set((await client.get(CLUSTER)).resources) == {name}
        await kernel.policy(name, routes=split(v1=1, v2=1))
        answer = await client.told(CLUSTER)
        assert set(answer.resources) == (subsets | {name} if mode == "sotw" else subsets)
        await kernel.policy(name)
        answer = await client.told(CLUSTER)
        assert (set(answer.resources), answer.gone) == (({name}, set()) if mode == "sotw" else (set(), subsets))


@both
async def test_names_beside_all(kernel: XdsKernel, mode: Mode) -> None:
    one, two = await kernel.service("e1"), await kernel.service("e2")
    missing = "missing.default"
    async with kernel.client(mode, envoy_node(one)) as client:
        answer = await client.get(CLUSTER, WILDCARD, two, missing)
        assert (set(answer.resources), answer.gone) == ({one, two}, {missing})
        await client.quiet(ENDPOINTS)
        await kernel.delete(two)
        answer = await client.told(CLUSTER)
        assert two not in answer.resources
        assert mode == "sotw" or answer.gone == {two}
        await client.quiet(ENDPOINTS)


@both
async def test_all_is_let_go_and_names_stay(kernel: XdsKernel, mode: Mode) -> None:
    one, two = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client(mode, envoy_node(one, two)) as client:
        await client.get(CLUSTER, WILDCARD, two)
        await client.unsubscribe(CLUSTER, WILDCARD)
        await client.quiet(ENDPOINTS)
        await kernel.policy(one, lb_policy="LB_POLICY_RING_HASH")
        await kernel.still(client, ENDPOINTS)
        await kernel.policy(two, lb_policy="LB_POLICY_RING_HASH")
        assert set((await client.told(CLUSTER)).resources) == {two}


@both
async def test_names_become_all(kernel: XdsKernel, mode: Mode) -> None:
    one, two = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client(mode, envoy_node(one, two)) as client:
        assert set((await client.get(CLUSTER, one)).resources) == {one}
        assert {two} <= set((await client.get(CLUSTER, WILDCARD)).resources)
        await client.quiet(ENDPOINTS)


@both
async def test_legacy_all_ends_with_the_first_name(kernel: XdsKernel, mode: Mode) -> None:
    """With states of the world a list of names is all that is wanted; with changes the wildcard stays until it is let
    go by name."""
    one, two = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client(mode, envoy_node(one, two)) as client:
        await client.get(CLUSTER)
        await client.subscribe(CLUSTER, one)
        assert one in (await client.told(CLUSTER)).resources
        await kernel.policy(two, lb_policy="LB_POLICY_RING_HASH")
        if mode == "sotw":
            await kernel.still(client, ENDPOINTS)
        else:
            assert set((await client.told(CLUSTER)).resources) == {two}


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER], ids=["Cluster", "Listener"])
async def test_a_first_request_that_only_lets_go(kernel: XdsKernel, type_url: str) -> None:
    """The old rule needs a request that says nothing at all."""
    name = await kernel.service("e1")
    async with kernel.client("delta", envoy_node(name)) as client:
        await client.unsubscribe(type_url, name)
        await client.quiet(ENDPOINTS)


async def test_a_name_that_all_covers_is_sent_when_it_is_let_go(kernel: XdsKernel) -> None:
    """The client drops what it lets go, as the protocol has it: whoever wants all must be sent it again."""
    one, two = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client("delta", envoy_node(one)) as client:
        await client.get(CLUSTER, WILDCARD, one, two)
        await client.unsubscribe(CLUSTER, one)
        assert set((await client.told(CLUSTER)).resources) == {one}
        await client.unsubscribe(CLUSTER, two)
        answer = await client.told(CLUSTER)
        assert (set(answer.resources), answer.gone) == (set(), {two})
        await client.quiet(ENDPOINTS)
