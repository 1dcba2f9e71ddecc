"""What clients of xDS are sent when something changes: what has, in the order that never leaves calls without a way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.integration.xds_client import MODES, Mode, envoy_node
from tests.integration.xds_kernel import XdsKernel, address_of, running, split

pytestmark = pytest.mark.asyncio(loop_scope="module")
TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
both = pytest.mark.parametrize("mode", MODES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("kernel")) as made:
        yield made


@both
async def test_only_what_has_changed_is_sent(kernel: XdsKernel, mode: Mode) -> None:
    one, two = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client(mode) as client:
        for type_url in TYPES:
            await client.get(type_url, one, two)
        await kernel.add(one, "e2")
        assert set((await client.told(ENDPOINTS)).resources) == {one}
        await kernel.timeout(two, 7)
        assert set((await client.told(ROUTES)).resources) == {two}
        await client.quiet()


@both
async def test_what_says_the_same_is_not_sent(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        for type_url in TYPES:
            await client.get(type_url, name)
        await kernel.describe(name, "changed")
        await kernel.label(name, "e1", color="blue")
        await kernel.still(client)


@both
async def test_endpoints_that_come_drain_and_go(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.get(ENDPOINTS, name)
        await kernel.add(name, "e2", "e3")
        answer = await client.told(ENDPOINTS)
        assert answer.addresses(name) == [address_of(e) for e in ("e1", "e2", "e3")]
        await kernel.drain(name, "e2")
        assert (await client.told(ENDPOINTS)).addresses(name) == [address_of("e1"), address_of("e3")]
        await kernel.take(name, "e1")
        assert (await client.told(ENDPOINTS)).addresses(name) == [address_of("e3")]
        await kernel.take(name, "e3")
        answer = await client.told(ENDPOINTS)
        assert set(answer.resources) == {name}
        assert not answer.gone, "a service without endpoints is there"


@both
async def test_endpoints_follow_their_cluster(kernel: XdsKernel, mode: Mode) -> None:
    """An Envoy keeps a cluster that has changed warming until it is sent the endpoints again."""
    name, other = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client(mode, envoy_node(name, other)) as client:
        await client.get(CLUSTER)
        await client.get(ENDPOINTS, name, other)
        await kernel.policy(name, lb_policy="LB_POLICY_RING_HASH")
        answer = await client.told(CLUSTER)
        assert name in answer.resources
        again = await client.told(ENDPOINTS)
        assert set(again.resources) == {name}
        assert again.addresses(name) == [address_of("e1")]
        await client.quiet(ENDPOINTS)


@both
async def test_endpoints_asked_for_before_their_cluster_is_there(kernel: XdsKernel, mode: Mode) -> None:
    name = f"early-{mode}.default"
    async with kernel.client(mode, envoy_node(name)) as client:
        assert (await client.get(ENDPOINTS, name)).gone == {name}
        await client.get(CLUSTER, "*", "missing.default")
        await kernel.service("e1", name=name)
        assert name in (await client.told(CLUSTER)).resources
        while (answer := await client.told(ENDPOINTS)).addresses(name) != [address_of("e1")]:
            assert not answer.gone


@both
async def test_a_service_that_goes_and_comes_back(kernel: XdsKernel, mode: Mode) -> None:
    name, stays = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client(mode) as client:
        for type_url in TYPES:
            await client.get(type_url, name, stays)
        await kernel.delete(name)
        told = [await client.told() for _ in TYPES]
        assert {answer.type_url for answer in told} == set(TYPES)
        assert all(name not in answer.resources for answer in told)
        for answer in told:
            assert answer.gone == {name}
        await client.quiet()
        await kernel.service("e2", name=name)
        addresses: list[str] = []
        missing = set(TYPES)
        while missing or addresses != [address_of("e2")]:
            answer = await client.told()
            assert name in answer.resources
            missing.discard(answer.type_url)
            if answer.type_url == ENDPOINTS:
                addresses = answer.addresses(name)
        await client.quiet()


@both
async def test_a_cluster_goes_after_the_routes_to_it(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    subset = f"{name}|version=v2"
    await kernel.policy(name, routes=split(v1=1, v2=1))
    async with kernel.client(mode) as client:
        await client.get(CLUSTER, name, subset)
        await client.get(ENDPOINTS, name)
        await client.get(ROUTES, name)
        await kernel.policy(name)
        routes = await client.read()
        assert (routes.type_url, set(routes.resources)) == (ROUTES, {name})
        await client.quiet(ENDPOINTS)
        await client.ack(routes)
        answer = await client.told(CLUSTER)
        assert subset not in answer.resources
        assert answer.gone == {subset}
        await client.quiet()


@both
async def test_a_cluster_goes_at_once_where_there_are_no_routes(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.get(CLUSTER, name)
        await kernel.delete(name)
        assert (await client.told(CLUSTER)).gone == {name}


@both
async def test_a_cluster_comes_before_the_routes_to_it(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    subsets = {f"{name}|version=v1", f"{name}|version=v2"}
    async with kernel.client(mode, envoy_node(name)) as client:
        await client.get(CLUSTER)
        await client.get(ENDPOINTS, name)
        await client.get(ROUTES, "egress")
        await kernel.policy(name, routes=split(v1=1, v2=1))
        assert subsets <= set((await client.told(CLUSTER)).resources)
        answer = await client.told()
        while answer.type_url != ROUTES:
            assert answer.type_url == ENDPOINTS
            answer = await client.told()
        assert set(answer.resources) == {"egress"}


@both
async def test_a_burst_ends_in_the_last_state(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.get(ENDPOINTS, name)
        for number in range(2, 42):
            await kernel.add(name, f"e{number}")
        wanted = sorted(address_of(f"e{number}") for number in range(1, 42))
        answers = 1
        while (await client.told(ENDPOINTS)).addresses(name) != wanted:
            answers += 1
        assert answers <= 40
        await client.quiet()
