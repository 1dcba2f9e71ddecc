"""What clients of xDS make of what they are sent: ACKs, NACKs, and nonces that are stale or nobody's."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sira.registry.v1.traffic_policy_pb2 import LbPolicy

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.integration.xds_client import MODES, Mode
from tests.integration.xds_kernel import XdsKernel, address_of, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
TYPES = (LISTENER, ROUTES, CLUSTER, ENDPOINTS)
both = pytest.mark.parametrize("mode", MODES)
each_type = pytest.mark.parametrize("type_url", TYPES, ids=lambda url: url.rpartition(".")[2])
changing = pytest.mark.parametrize("type_url", [ROUTES, CLUSTER, ENDPOINTS], ids=lambda url: url.rpartition(".")[2])
"""Of the types whose resources a change of a service changes; a Listener of a client of gRPC stays what it is."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("kernel")) as made:
        yield made


async def change(kernel: XdsKernel, type_url: str, name: str, number: int) -> None:
    """Makes the resource of a service another one, or with 0 what it was at first."""
    if type_url == ROUTES:
        await (kernel.timeout(name, number) if number else kernel.policy(name))
    elif type_url == CLUSTER:
        await kernel.policy(name, **({"lb_policy": LbPolicy.LB_POLICY_RING_HASH} if number else {}))
    elif number:
        await kernel.add(name, f"e{number}")
    else:
        await kernel.take(name, "e7")


@both
@each_type
async def test_an_acknowledgement_is_not_answered(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        answer = await client.get(type_url, name)
        await client.ack(answer)
        await client.ack(answer)
        await client.quiet()


@both
@each_type
async def test_what_was_rejected_is_not_sent_again(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(type_url, name)
        await client.nack(await client.read())
        await client.quiet()
        await kernel.describe(name, "changes nothing for clients")
        await kernel.still(client)


@both
@changing
async def test_what_was_rejected_is_sent_once_it_has_changed(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(type_url, name)
        rejected = await client.read()
        await client.nack(rejected)
        await client.quiet()
        await change(kernel, type_url, name, 7)
        answer = await client.told(type_url)
        assert answer.resources[name] != rejected.resources[name]
        await client.quiet()


@both
@changing
async def test_a_rejected_version_never_comes_back(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(type_url, name)
        first = await client.told(type_url)
        await change(kernel, type_url, name, 7)
        rejected = await client.read()
        await client.nack(rejected)
        await change(kernel, type_url, name, 0)
        back = await client.told(type_url)
        assert back.resources[name] == first.resources[name]
        await change(kernel, type_url, name, 7)
        await kernel.still(client)


@both
@each_type
async def test_a_rejection_of_one_type_is_none_of_another(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name = await kernel.service("e1")
    other = ENDPOINTS if type_url == CLUSTER else CLUSTER
    async with kernel.client(mode) as client:
        await client.subscribe(type_url, name)
        await client.nack(await client.read())
        assert name in (await client.get(other, name)).resources
        await change(kernel, other, name, 7)
        assert name in (await client.told(other)).resources


@both
@each_type
async def test_other_resources_go_on_after_a_rejection(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    bad, good = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(type_url, bad)
        await client.nack(await client.read())
        await client.subscribe(type_url, good)
        answer = await client.told(type_url)
        assert set(answer.resources) == {good}
        assert not answer.gone
        await client.quiet()


async def test_a_state_of_the_world_has_what_was_accepted_last(kernel: XdsKernel) -> None:
    """What it leaves out is gone, and what was rejected is not sent again: so the version before goes on being sent."""
    bad, good = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client("sotw") as client:
        accepted = await client.get(CLUSTER, bad)
        await change(kernel, CLUSTER, bad, 7)
        await client.nack(await client.read())
        await client.subscribe(CLUSTER, good)
        answer = await client.told(CLUSTER)
        assert set(answer.resources) == {bad, good}
        assert answer.resources[bad] == accepted.resources[bad]
        await client.quiet()


@both
async def test_a_rejection_concerns_what_it_answers(kernel: XdsKernel, mode: Mode) -> None:
    bad, good = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.get(ENDPOINTS, good)
        await client.subscribe(ENDPOINTS, bad)
        await client.nack(await client.read())
        await kernel.add(good, "e2")
        assert set((await client.told(ENDPOINTS)).resources) == {good}
        await kernel.add(bad, "e2")
        assert set((await client.told(ENDPOINTS)).resources) == {bad}


@both
async def test_a_rejection_is_of_one_stream(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client, kernel.client(mode) as other:
        await other.get(CLUSTER, name)
        await client.subscribe(CLUSTER, name)
        rejected = await client.read()
        await client.nack(rejected)
        await client.quiet()
        await change(kernel, CLUSTER, name, 7)
        assert name in (await client.told(CLUSTER)).resources
        assert name in (await other.told(CLUSTER)).resources
        async with kernel.client(mode) as again:
            assert name in (await again.get(CLUSTER, name)).resources


@both
async def test_who_subscribes_after_a_rejection_does_not_accept_by_it(kernel: XdsKernel, mode: Mode) -> None:
    """The next request carries the nonce of what was rejected, and no error any more."""
    name, more = await kernel.service("e1"), await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(ENDPOINTS, name)
        rejected = await client.read()
        await client.nack(rejected)
        await client.subscribe(ENDPOINTS, more, response_nonce=rejected.nonce)
        assert set((await client.told(ENDPOINTS)).resources) == {more}
        await client.quiet()


@both
async def test_a_rejection_twice(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(CLUSTER, name)
        rejected = await client.read()
        await client.nack(rejected)
        await client.nack(rejected, "still no good")
        await client.quiet()


@both
async def test_a_rejected_resource_that_goes(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(CLUSTER, name)
        await client.nack(await client.read())
        await client.quiet(ENDPOINTS)
        await kernel.delete(name)
        answer = await client.told(CLUSTER)
        assert name not in answer.resources
        assert name in answer.gone


async def test_a_stale_nonce_is_not_answered(kernel: XdsKernel) -> None:
    name, more = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client("sotw") as client:
        stale = await client.get(ENDPOINTS, name)
        await kernel.add(name, "e2")
        answer = await client.read()
        await client.send(type_url=ENDPOINTS, resource_names=[name, more], response_nonce=stale.nonce)
        await client.ack(answer)
        await client.quiet()
        await kernel.add(name, "e3")
        assert (await client.told(ENDPOINTS)).addresses(name) == [address_of(e) for e in ("e1", "e2", "e3")]
        # What it wants it says again with the nonce that it has by then.
        assert set((await client.get(ENDPOINTS, more)).resources) == {more}


async def test_an_unknown_nonce_is_not_answered(kernel: XdsKernel) -> None:
    name, more = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client("sotw") as client:
        await client.get(ENDPOINTS, name)
        await client.send(type_url=ENDPOINTS, resource_names=[name, more], response_nonce="nobody's")
        await client.quiet()
        assert set((await client.get(ENDPOINTS, more)).resources) == {more}


@pytest.mark.parametrize("nonce", ["stale", "unknown", "none"])
async def test_subscriptions_to_changes_count_whatever_the_nonce(kernel: XdsKernel, nonce: str) -> None:
    name, more = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client("delta") as client:
        stale = await client.get(ENDPOINTS, name)
        await kernel.add(name, "e2")
        await client.told(ENDPOINTS)
        given = {"stale": stale.nonce, "unknown": "nobody's", "none": ""}[nonce]
        await client.subscribe(ENDPOINTS, more, response_nonce=given)
        assert set((await client.told(ENDPOINTS)).resources) == {more}
        await client.unsubscribe(ENDPOINTS, name, response_nonce=given)
        await client.quiet()
        await kernel.add(name, "e3")
        await kernel.still(client)


@both
async def test_a_rejection_with_a_nonce_that_nobody_has(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        answer = await client.get(ENDPOINTS, name)
        answer.nonce = "nobody's"
        await client.nack(answer)
        await client.quiet()
        await kernel.add(name, "e2")
        assert (await client.told(ENDPOINTS)).addresses(name) == [address_of("e1"), address_of("e2")]


@both
async def test_what_changes_before_the_acknowledgement_is_sent(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(ENDPOINTS, name)
        first = await client.read()
        await kernel.add(name, "e2")
        second = await client.read()
        assert second.addresses(name) == [address_of("e1"), address_of("e2")]
        await client.ack(first)
        await client.ack(second)
        await client.quiet()


@both
async def test_nonces_are_of_one_answer_each(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        nonces = {(await client.get(type_url, name)).nonce for type_url in TYPES}
        for number in range(2, 6):
            await kernel.add(name, f"e{number}")
            nonces.add((await client.told(ENDPOINTS)).nonce)
        assert len(nonces - {""}) == 8
