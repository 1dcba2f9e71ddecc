"""Streams end soon after what their callers showed has ceased to count, and those of others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from sira.identity.v1.identity_service_pb2 import WatchAck, WatchOpen, WatchTrustBundlesRequest
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.resolver_service_pb2 import WatchRequest
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from tests.integration.identity_refusals import (
    ACCEPTED,
    API,
    HANDSHAKE,
    PATIENCE,
    WEB,
    Held,
    World,
    running,
    status,
    told,
)
from tests.integration.identity_refused_callers import EXPIRED, INVALID, REVOKED, TTL

SOON = 5.0
"""Seconds by which a stream has ended: the kernel looks every second."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as started:
        yield started


class Streams:
    """The three kinds of stream, over one connection, each with its first answer read."""

    def __init__(self, channel: aio.Channel, service: str) -> None:
        identity: Any = IdentityServiceStub(channel)
        resolver: Any = ResolverServiceStub(channel)
        registry: Any = RegistryServiceStub(channel)
        self.channel = channel
        self.service = f"namespaces/default/services/{service}"
        self.trust = identity.WatchTrustBundles()
        self.lease = registry.HoldLease()
        self._watch = resolver.Watch
        self.endpoints: Any = None

    async def open(self) -> Streams:
        async with asyncio.timeout(PATIENCE):
            await self.trust.write(WatchTrustBundlesRequest(open=WatchOpen(acknowledges=True)))
            self.revision = (await self.trust.read()).revision
            await self.register("e1")
            self.endpoints = self._watch(WatchRequest(service=self.service))
            assert len((await self.endpoints.read()).snapshot.endpoints) == 1
        return self

    async def register(self, name: str) -> None:
        endpoint = Endpoint(name=f"{self.service}/endpoints/{name}", addresses=["127.0.0.1"], port=80)
        await self.lease.write(HoldLeaseRequest(endpoints=[endpoint], allow_missing_service=True))
        assert (await self.lease.read()).revision > 0

    async def ends(self) -> set[str]:
        """What each ends with."""
        async with asyncio.timeout(SOON):
            return set(await asyncio.gather(*(told(_to_its_end(s)) for s in (self.trust, self.lease, self.endpoints))))

    async def go_on(self) -> None:
        """Makes sure that each still works, both ways where there are two."""
        async with asyncio.timeout(PATIENCE):
            await self.trust.write(WatchTrustBundlesRequest(ack=WatchAck(revision=self.revision)))
            await self.register("e2")
            changed = await self.endpoints.read()
            assert [endpoint.name[-2:] for endpoint in changed.changes.upserted] == ["e2"]
            await status(self.channel)
        assert not any(stream.done() for stream in (self.trust, self.lease, self.endpoints))


async def _to_its_end(stream: Any) -> None:
    """Reads a stream until it ends, and raises what it ended with: a read may find its end without saying why."""
    while await stream.read() is not aio.EOF:
        pass
    raise aio.AioRpcError(
        await stream.code(), await stream.initial_metadata(), await stream.trailing_metadata(), await stream.details()
    )


async def expire(world: World, held: Held) -> None:
    world.clock.ahead = TTL + 1


async def revoke_identity(world: World, held: Held) -> None:
    await world.revoke(identity=WEB)


async def revoke_serial(world: World, held: Held) -> None:
    await world.revoke(serial=held.serial)


@pytest.mark.parametrize(
    ("undo", "reason"),
    [(revoke_identity, REVOKED), (revoke_serial, REVOKED), (expire, EXPIRED)],
    ids=["its identity is revoked", "its certificate is revoked", "its certificate expires"],
)
async def test_the_streams_of_a_caller_end_when(
    world: World, undo: Callable[[World, Held], Awaitable[None]], reason: str
) -> None:
    web = await world.join(WEB, ttl=TTL)
    ending = await Streams(world.channel(web), "web").open()
    other = await Streams(world.channel(await world.join(API)), "api").open()
    await undo(world, web)
    assert await ending.ends() == {reason}
    assert await told(status(ending.channel)) == reason
    assert await world.status(web) == reason
    await other.go_on()


async def test_streams_end_when_the_root_of_their_certificate_goes_and_those_of_who_renewed_do_not(
    world: World,
) -> None:
    web = await world.join(WEB)
    ending = await Streams(world.channel(web), "web").open()
    await world.retire_root()
    other = await Streams(world.channel(await world.join(API)), "api").open()
    assert await ending.ends() == {INVALID}
    assert await told(status(ending.channel)) == INVALID
    assert await world.status(web) == HANDSHAKE
    await other.go_on()


async def test_who_was_revoked_may_come_back_with_a_join_token_and_its_old_streams_do_not(world: World) -> None:
    ending = await Streams(world.channel(await world.join(WEB)), "web").open()
    await world.revoke(identity=WEB)
    again = await world.join(WEB)
    assert await ending.ends() == {REVOKED}
    assert await world.status(again) == ACCEPTED
    assert await told(status(ending.channel)) == REVOKED


@pytest.mark.parametrize("ends", ["expires", "is revoked"])
async def test_the_streams_of_a_token_end_when_it(world: World, ends: str) -> None:
    channel = world.channel(None)
    resolver: Any = ResolverServiceStub(channel)
    await (await Streams(world.channel(await world.join(API)), "api").open()).go_on()
    token = await world.jwt(await world.join(WEB), ttl=10)
    metadata = [("authorization", f"Bearer {token}")]
    stream = resolver.Watch(WatchRequest(service="namespaces/default/services/api"), metadata=metadata)
    async with asyncio.timeout(PATIENCE):
        assert len((await stream.read()).snapshot.endpoints) == 2
    if ends == "expires":
        world.clock.ahead = 11
    else:
        await world.revoke(identity=WEB)
    async with asyncio.timeout(SOON):
        reason = await told(_to_its_end(stream))
    assert reason == (EXPIRED if ends == "expires" else REVOKED)
    assert await told(status(channel, metadata)) == reason
