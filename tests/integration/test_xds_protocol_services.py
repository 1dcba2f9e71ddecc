"""The services over which clients take resources: all types at once, each apart, and once; and how streams end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc import aio

from sira_grpc.svid import identity_directory
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from tests.integration.identity_kernel import running as running_with_identity
from tests.integration.registry_kernel import reason_of
from tests.integration.xds_client import MODES, Mode, envoy_node, fetched, grpc_node, opened
from tests.integration.xds_kernel import XdsKernel, address_of, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
TYPES = (LISTENER, ROUTES, CLUSTER, ENDPOINTS)
both = pytest.mark.parametrize("mode", MODES)
each_type = pytest.mark.parametrize("type_url", TYPES, ids=lambda url: url.rpartition(".")[2])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("kernel")) as made:
        yield made


@both
@each_type
async def test_a_stream_of_one_type(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name, missing = await kernel.service("e1"), f"missing-{mode}-{TYPES.index(type_url)}.default"
    async with kernel.client(mode, type_url=type_url) as client:
        answer = await client.get(type_url, name, missing)
        assert (set(answer.resources), answer.gone) == ({name}, {missing})
        await kernel.service(name=missing)
        assert missing in (await client.told(type_url)).resources
        await client.unsubscribe(type_url, name)
        await kernel.delete(missing)
        answer = await client.told(type_url)
        assert (set(answer.resources), answer.gone) == (set(), {missing})


@both
@each_type
async def test_a_stream_of_one_type_need_not_say_it(kernel: XdsKernel, mode: Mode, type_url: str) -> None:
    name = await kernel.service("e1")
    field = "resource_names" if mode == "sotw" else "resource_names_subscribe"
    async with kernel.client(mode, type_url=type_url) as client:
        await client.send(**{field: [name]})
        assert set((await client.told(type_url)).resources) == {name}


@each_type
async def test_fetched(kernel: XdsKernel, type_url: str) -> None:
    name = await kernel.service("e1")
    answer = await fetched(kernel.channel, type_url, [name, "missing.default"])
    assert (set(answer.resources), answer.gone) == ({name}, {"missing.default"})
    unsaid = await fetched(kernel.channel, type_url, [name], type_url="", version_info=answer.version)
    assert unsaid.resources == answer.resources
    assert unsaid.type_url == type_url
    await kernel.delete(name)
    assert (await fetched(kernel.channel, type_url, [name])).gone == {name}


async def test_fetched_versions_are_those_of_streams(kernel: XdsKernel) -> None:
    name = await kernel.service("e1")
    node = grpc_node()
    async with kernel.client("sotw", node) as client:
        told = await client.get(ENDPOINTS, name)
    before = await fetched(kernel.channel, ENDPOINTS, [name], node=node)
    assert (before.version, before.resources) == (told.version, told.resources)
    await kernel.add(name, "e2")
    after = await fetched(kernel.channel, ENDPOINTS, [name], node=node)
    assert after.version != before.version
    assert after.addresses(name) == [address_of("e1"), address_of("e2")]


async def test_all_fetched(kernel: XdsKernel) -> None:
    one, two = await kernel.service("e1"), await kernel.service("e1")
    for names in ([], ["*"]):
        assert set((await fetched(kernel.channel, CLUSTER, names, node=envoy_node(one, two))).resources) == {one, two}


async def test_nothing_fetched_leaves_a_stream_behind(kernel: XdsKernel) -> None:
    await kernel.settled()
    await fetched(kernel.channel, CLUSTER, ["web.default"])
    assert kernel.count() == 0


@both
@pytest.mark.parametrize("type_url", [None, SECRET], ids=["aggregated", "apart"])
async def test_no_secrets_without_identity(kernel: XdsKernel, mode: Mode, type_url: str | None) -> None:
    async with kernel.client(mode, envoy_node(), type_url=type_url) as client:
        assert (await client.get(SECRET, "trust", "identity")).gone == {"trust", "identity"}


@both
async def test_the_roots_are_the_one_secret(tmp_path: Path, mode: Mode) -> None:
    async with running_with_identity(tmp_path) as kernel:
        assert kernel.kernel.identity is not None
        async with opened(kernel.channel, mode, envoy_node(), type_url=SECRET) as client:
            answer = await client.get(SECRET, "trust", "identity")
            assert answer.gone == {"identity"}
            secret = answer.resources["trust"]
            assert b"BEGIN CERTIFICATE" in secret.validation_context.trusted_ca.inline_bytes
            assert not secret.HasField("tls_certificate")
        fetched_answer = await fetched(kernel.channel, SECRET, ["trust"], node=envoy_node())
        assert fetched_answer.resources == answer.resources


@both
async def test_who_has_no_identity_is_told_nothing_where_callers_have_one(tmp_path: Path, mode: Mode) -> None:
    async with running_with_identity(tmp_path) as kernel:
        assert kernel.kernel.identity is not None
        files = identity_directory.read(kernel.kernel.identity.operator.directory)
        credentials = grpc.ssl_channel_credentials(files.bundle)
        async with (
            aio.secure_channel(kernel.kernel.token_addresses[0], credentials) as channel,
            opened(channel, mode, envoy_node()) as client,
        ):
            await client.subscribe(SECRET, "trust")
            error = await client.ended()
            assert error is not None
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@both
async def test_a_stream_goes_with_its_client(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    await kernel.settled()
    async with kernel.client(mode) as client:
        await client.get(CLUSTER, name)
        assert kernel.count() == 1
    await kernel.settled()


@both
async def test_what_was_asked_before_the_client_closed_its_side_is_answered(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    await kernel.settled()
    async with kernel.client(mode) as client:
        await client.subscribe(CLUSTER, name)
        await client.stream.done_writing()
        assert set((await client.read()).resources) == {name}
        assert await client.ended() is None
    await kernel.settled()


@both
async def test_a_stream_that_says_nothing(kernel: XdsKernel, mode: Mode) -> None:
    await kernel.settled()
    async with kernel.client(mode) as client:
        await client.stream.done_writing()
        assert await client.ended() is None
    async with kernel.client(mode) as client:
        await client.stream.wait_for_connection()
    await kernel.settled()


@both
async def test_many_streams_on_one_connection(kernel: XdsKernel, mode: Mode) -> None:
    """A client of gRPC opens one for each of its targets."""
    names = [await kernel.service("e1") for _ in range(30)]

    async def follow(name: str) -> None:
        async with kernel.client(mode, grpc_node(id_="one")) as client:
            for type_url in TYPES:
                assert set((await client.get(type_url, name)).resources) == {name}
            await kernel.add(name, "e2")
            assert (await client.told(ENDPOINTS)).addresses(name) == [address_of("e1"), address_of("e2")]

    await asyncio.gather(*map(follow, names))


@both
async def test_a_drain_ends_streams_at_once(tmp_path: Path, mode: Mode) -> None:
    async with running(tmp_path) as kernel:
        name = await kernel.service("e1")
        async with kernel.client(mode) as client, kernel.client(mode) as silent:
            await client.get(CLUSTER, name)
            await silent.send(type_url=CLUSTER)
            stopping = asyncio.create_task(kernel.kernel.__aexit__(None, None, None))
            for each in (client, silent):
                error = await each.ended()
                assert error is not None
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                assert reason_of(error) == "KERNEL_STOPPING"
            await stopping


@pytest.mark.parametrize("mode", MODES)
async def test_heartbeats_go_to_envoys(tmp_path: Path, mode: Mode) -> None:
    """What has a TTL is said again and again to be as it was, until it changes."""
    async with running(tmp_path, resource_ttl=0.3) as kernel:
        name = await kernel.service("e1")
        async with kernel.client(mode, envoy_node(name)) as client, kernel.client(mode) as plain:
            answer = await client.get(ENDPOINTS, name)
            assert answer.ttls == {name: 0.3}
            assert set(answer.versions) == {name}
            for _ in range(3):
                beat = await client.told(ENDPOINTS)
                assert (beat.beats, beat.resources, beat.gone) == ({name}, {}, set())
                assert (beat.ttls, beat.versions) == (answer.ttls, answer.versions)
            assert (await client.get(CLUSTER, name)).ttls == {}
            await kernel.add(name, "e2")
            while not (answer := await client.told(ENDPOINTS)).resources:
                assert answer.beats == {name}
            assert answer.ttls == {name: 0.3}
            # Clients of gRPC take no such thing.
            assert (await plain.get(ENDPOINTS, name)).ttls == {}
            await plain.quiet()
