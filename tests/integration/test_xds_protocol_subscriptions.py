"""What clients of xDS subscribe to, and what they are told: names, more and fewer of them, everything, and none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sira_grpc.xds.names import xdstp
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, FULL_STATE, LISTENER, ROUTES
from tests.integration.xds_client import MODES, Mode, grpc_node
from tests.integration.xds_kernel import OTHER, XdsKernel, address_of, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
TYPES = (LISTENER, ROUTES, CLUSTER, ENDPOINTS)
PARTIAL = (ROUTES, ENDPOINTS)
both = pytest.mark.parametrize("mode", MODES)
each_type = pytest.mark.parametrize("type_url", TYPES, ids=lambda url: url.rpartition(".")[2])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("kernel")) as made:
        yield made


@both
@each_type
async def test_a_name_is_answered_at_once(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name = await kernel.service("e1", "e2")
    async with kernel.client(mode) as client:
        answer = await client.get(type_url, name)
        assert set(answer.resources) == {name}
        assert not answer.gone
        if type_url == ENDPOINTS:
            assert answer.addresses(name) == [address_of("e1"), address_of("e2")]
        await client.quiet()


@both
@each_type
async def test_more_names(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    one, two = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client(mode) as client:
        first = await client.get(type_url, one)
        second = await client.get(type_url, two)
        whole = mode == "sotw" and type_url in FULL_STATE
        assert set(second.resources) == ({one, two} if whole else {two})
        assert second.nonce != first.nonce
        await client.quiet()


@both
@each_type
async def test_fewer_names(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    one, two = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client(mode) as client:
        await client.get(type_url, one, two)
        await client.unsubscribe(type_url, two)
        await client.quiet()
        await kernel.delete(two)
        await kernel.still(client)
        await client.subscribe(type_url, two)
        answer = await client.told(type_url)
        assert answer.gone == {two}


@both
@each_type
async def test_no_names_after_some_is_no_wildcard(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.get(type_url, name)
        await client.unsubscribe(type_url, name)
        await client.quiet()
        await kernel.delete(name)
        await kernel.still(client)


@both
@each_type
async def test_a_name_that_is_asked_for_again_after_it_was_let_go_is_sent(
    kernel: XdsKernel, mode: Mode, type_url: str
) -> None:
    name, kept = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client(mode) as client:
        await client.get(type_url, name, kept)
        await client.unsubscribe(type_url, name)
        await client.quiet()
        answer = await client.get(type_url, name)
        assert name in answer.resources


@pytest.mark.parametrize("type_url", PARTIAL, ids=("RouteConfiguration", "ClusterLoadAssignment"))
@both
async def test_an_empty_first_list_is_nothing_where_there_is_no_wildcard(
    kernel: XdsKernel, mode: Mode, type_url: str
) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(type_url)
        await client.quiet(ROUTES if type_url == ENDPOINTS else ENDPOINTS)
        answer = await client.get(type_url, name)
        assert set(answer.resources) == {name}


@both
@each_type
async def test_the_same_names_in_another_order_or_twice(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    one, two = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client(mode) as client:
        answer = await client.get(type_url, one, two)
        if mode == "sotw":
            told = {"type_url": type_url, "version_info": answer.version, "response_nonce": answer.nonce}
            await client.send(resource_names=[two, one], **told)
            await client.send(resource_names=[one, two, two, one], **told)
        else:
            await client.send(type_url=type_url, resource_names_subscribe=[two, one, two])
            again = await client.told(type_url)
            assert set(again.resources) == {one, two}, "who subscribes again is sent it again"
        await client.quiet()


@both
async def test_a_duplicate_in_the_first_request_comes_once(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    field = "resource_names" if mode == "sotw" else "resource_names_subscribe"
    async with kernel.client(mode) as client:
        await client.send(type_url=CLUSTER, **{field: [name, name]})
        assert set((await client.told(CLUSTER)).resources) == {name}
        await client.quiet()


@both
@each_type
async def test_what_is_not_there_is_said_at_once_and_sent_once_it_is(
    kernel: XdsKernel, mode: Mode, type_url: str
) -> None:
    there, name = await kernel.service("e1"), f"late-{mode}-{TYPES.index(type_url)}.default"
    async with kernel.client(mode) as client:
        answer = await client.get(type_url, there, name)
        assert (set(answer.resources), answer.gone) == ({there}, {name})
        await client.quiet()
        await kernel.service(name=name)
        answer = await client.told(type_url)
        assert set(answer.resources) == ({there, name} if mode == "sotw" and type_url in FULL_STATE else {name})
        assert not answer.gone


@both
@each_type
async def test_names_that_cannot_be(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    odd = {
        "UPPER.default",
        "a.b.c",
        "web.default|",
        "web|version=",
        "|",
        "xdstp://elsewhere/x/y",
        "é.default",
        "x" * 300,
    }
    async with kernel.client(mode) as client:
        answer = await client.get(type_url, *odd)
        assert not answer.resources
        assert answer.gone == odd
        await client.quiet()


@both
async def test_short_names_are_of_the_namespace_of_the_client(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    short = name.partition(".")[0]
    async with kernel.client(mode) as client, kernel.client(mode, grpc_node(namespace=OTHER)) as stranger:
        assert set((await client.get(LISTENER, short)).resources) == {short}
        assert (await stranger.get(LISTENER, short)).gone == {short}
        assert set((await stranger.get(LISTENER, name)).resources) == {name}
        await kernel.service(name=f"{short}.{OTHER}")
        assert short in (await stranger.told(LISTENER)).resources
        await kernel.still(client)
        await kernel.delete(name)
        assert short not in (await client.told(LISTENER)).resources


@both
@each_type
async def test_names_of_the_xdstp_form(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name = await kernel.service("e1")
    long = xdstp(name, type_url)
    async with kernel.client(mode) as client:
        assert set((await client.get(type_url, long)).resources) == {long}
        await client.quiet()
        await kernel.delete(name)
        answer = await client.told(type_url)
        assert long not in answer.resources
        missing = xdstp("missing.default", type_url)
        assert missing in (await client.get(type_url, missing)).gone


@both
async def test_many_names_at_once(kernel: XdsKernel, mode: Mode) -> None:
    names = [await kernel.service(f"e{number}") for number in range(1, 41)]
    missing = {f"missing-{number}.default" for number in range(500)}
    async with kernel.client(mode) as client:
        answer = await client.get(ENDPOINTS, *names, *missing)
        assert set(answer.resources) == set(names)
        assert answer.gone == missing
        assert [answer.addresses(name) for name in names] == [[address_of(f"e{n}")] for n in range(1, 41)]
        await client.quiet()


@both
async def test_subscriptions_of_types_are_apart(kernel: XdsKernel, mode: Mode) -> None:
    one, two = await kernel.service("e1"), await kernel.service("e2")
    async with kernel.client(mode) as client:
        assert set((await client.get(ENDPOINTS, one)).resources) == {one}
        assert set((await client.get(CLUSTER, two)).resources) == {two}
        await kernel.add(two, "e3")
        await kernel.still(client)
        await kernel.add(one, "e3")
        assert (await client.told(ENDPOINTS)).addresses(one) == [address_of("e1"), address_of("e3")]
