"""Clients of xDS that come back with what they had: in any order, to the same kernel or another."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.integration.xds_answers import Answer
from tests.integration.xds_client import MODES, Mode, XdsClient, envoy_node
from tests.integration.xds_kernel import XdsKernel, address_of, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
TYPES = (LISTENER, ROUTES, ENDPOINTS, CLUSTER)
"""In the order in which gRPC's C core asks again."""
both = pytest.mark.parametrize("mode", MODES)
each_type = pytest.mark.parametrize("type_url", TYPES, ids=lambda url: url.rpartition(".")[2])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("kernel")) as made:
        yield made


async def all_of(client: XdsClient, name: str, versions: dict[str, str] | None = None) -> dict[str, Answer]:
    """Asks for all types at once, with the versions that it had of each, and returns the answers."""
    for type_url in TYPES:
        client.known(type_url).version = (versions or {}).get(type_url, "")
        await client.subscribe(type_url, name)
    answers = {}
    for _ in TYPES:
        answer = await client.read()
        await client.ack(answer)
        assert set(answer.resources) == {name}
        assert answer.type_url not in answers
        answers[answer.type_url] = answer
    return answers


async def test_who_comes_back_with_the_same_versions_is_answered(kernel: XdsKernel) -> None:
    name = await kernel.service("e1")
    async with kernel.client("sotw") as client:
        before = {type_url: answer.version for type_url, answer in (await all_of(client, name)).items()}
    async with kernel.client("sotw") as client:
        after = await all_of(client, name, before)
        assert {type_url: answer.version for type_url, answer in after.items()} == before


async def test_who_comes_back_with_old_versions_gets_the_new(kernel: XdsKernel) -> None:
    name = await kernel.service("e1")
    async with kernel.client("sotw") as client:
        before = {type_url: answer.version for type_url, answer in (await all_of(client, name)).items()}
    await kernel.add(name, "e2")
    async with kernel.client("sotw") as client:
        after = await all_of(client, name, before)
        assert after[ENDPOINTS].version != before[ENDPOINTS]
        assert after[ENDPOINTS].addresses(name) == [address_of("e1"), address_of("e2")]
        assert after[CLUSTER].version == before[CLUSTER]


@both
async def test_who_comes_back_with_versions_of_elsewhere_is_answered(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        if mode == "sotw":
            await all_of(client, name, dict.fromkeys(TYPES, "42"))
        else:
            await client.subscribe(CLUSTER, name, initial_resource_versions={name: "42"})
            assert set((await client.told(CLUSTER)).resources) == {name}


@both
async def test_a_nonce_of_another_stream(kernel: XdsKernel, mode: Mode) -> None:
    """Nonces end with their stream: the first request of a type is answered whatever it carries."""
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        old = await client.get(ENDPOINTS, name)
    async with kernel.client(mode) as client:
        await client.subscribe(ENDPOINTS, name, response_nonce=old.nonce)
        assert set((await client.told(ENDPOINTS)).resources) == {name}
        await client.quiet()


@both
@pytest.mark.parametrize("seed", range(4))
async def test_types_in_any_order(kernel: XdsKernel, mode: Mode, seed: int) -> None:
    name = await kernel.service("e1")
    order = random.Random(seed).choice(list(itertools.permutations(TYPES)))
    async with kernel.client(mode) as client:
        for type_url in order:
            await client.subscribe(type_url, name)
            while (answer := await client.told()).type_url != type_url:
                assert answer.type_url == ENDPOINTS, "which come again after their cluster"
            assert set(answer.resources) == {name}
        await kernel.add(name, "e2")
        while (await client.told(ENDPOINTS)).addresses(name) != [address_of("e1"), address_of("e2")]:
            pass
        await client.quiet()


@each_type
async def test_versions_that_it_has_are_not_sent_again(kernel: XdsKernel, type_url: str) -> None:
    name, more = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client("delta") as client:
        had = (await client.get(type_url, name, more)).versions
    async with kernel.client("delta") as client:
        await client.subscribe(type_url, name, more, initial_resource_versions=had)
        await client.quiet()
        await kernel.delete(more)
        answer = await client.told(type_url)
        assert (set(answer.resources), answer.gone) == (set(), {more})


async def test_versions_that_have_changed_are_sent(kernel: XdsKernel) -> None:
    same, changed = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client("delta") as client:
        had = (await client.get(ENDPOINTS, same, changed)).versions
    await kernel.add(changed, "e2")
    async with kernel.client("delta") as client:
        await client.subscribe(ENDPOINTS, same, changed, initial_resource_versions=had)
        answer = await client.told(ENDPOINTS)
        assert set(answer.resources) == {changed}
        await client.quiet()


@each_type
async def test_what_has_gone_meanwhile_is_removed_at_once(kernel: XdsKernel, type_url: str) -> None:
    stays, goes = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client("delta") as client:
        had = (await client.get(type_url, stays, goes)).versions
    await kernel.delete(goes)
    async with kernel.client("delta") as client:
        await client.subscribe(type_url, stays, goes, initial_resource_versions=had)
        answer = await client.told(type_url)
        assert (set(answer.resources), answer.gone) == (set(), {goes})
        await client.quiet()


@pytest.mark.parametrize("asked", [(), ("*",)], ids=["legacy", "explicit"])
async def test_all_with_versions_that_it_has(kernel: XdsKernel, asked: Sequence[str]) -> None:
    stays, changes, goes = [await kernel.service("e1") for _ in range(3)]
    comes = f"comes-{len(asked)}.default"
    node = envoy_node(stays, changes, goes, comes)
    async with kernel.client("delta", node) as client:
        had = (await client.get(CLUSTER, *asked)).versions
        assert set(had) == {stays, changes, goes}
    await kernel.policy(changes, lb_policy="LB_POLICY_RING_HASH")
    await kernel.delete(goes)
    await kernel.service(name=comes)
    async with kernel.client("delta", node) as client:
        await client.subscribe(CLUSTER, *asked, initial_resource_versions=had)
        answer = await client.told(CLUSTER)
        assert (set(answer.resources), answer.gone) == ({changes, comes}, {goes})
        await client.quiet(ENDPOINTS)


async def test_versions_of_what_it_does_not_subscribe_to(kernel: XdsKernel) -> None:
    name, other = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client("delta") as client:
        await client.subscribe(ENDPOINTS, name, initial_resource_versions={other: "42", "none.default": "1"})
        answer = await client.told(ENDPOINTS)
        assert set(answer.resources) == {name}
        await kernel.add(other, "e2")
        await kernel.still(client)


async def test_versions_count_in_the_first_request_alone(kernel: XdsKernel) -> None:
    name, more = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client("delta") as other:
        had = (await other.get(ENDPOINTS, more)).versions
    async with kernel.client("delta") as client:
        await client.get(ENDPOINTS, name)
        await client.subscribe(ENDPOINTS, more, initial_resource_versions=had)
        assert set((await client.told(ENDPOINTS)).resources) == {more}


@both
async def test_versions_are_the_same_after_a_restart_and_at_another_kernel(tmp_path: Path, mode: Mode) -> None:
    async def told(kernel: XdsKernel) -> dict[str, tuple[str, dict[str, str]]]:
        async with kernel.client(mode) as client:
            return {
                type_url: (answer.version if mode == "sotw" else "", answer.versions)
                for type_url, answer in (await all_of(client, "web.default")).items()
            }

    async with running(tmp_path / "one") as kernel:
        await kernel.service("e1", "e2", name="web.default")
        await kernel.timeout("web.default", 7)
        before = await told(kernel)
    async with running(tmp_path / "one") as kernel:
        assert await told(kernel) == before
    async with running(tmp_path / "two") as kernel:
        # In another order, and with a history: what counts is what there is now.
        await kernel.service("e2", name="web.default")
        await kernel.timeout("web.default", 9)
        await kernel.add("web.default", "e1")
        await kernel.timeout("web.default", 7)
        assert await told(kernel) == before
