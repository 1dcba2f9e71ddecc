"""The Python client with identity directories that are renewed, and a real kernel over mutual TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from sira.registry.v1.event_pb2 import EVENT_TYPE_LEASE_SUSPECT
from sira.registry.v1.resolver_service_pb2 import ListEventsRequest
from sira_client import BalancedChannel, Client, Identity, IdentityFiles, RegistrationState, Settings, connect

from sira_grpc.svid import identity_directory
from tests.integration.sira_process import SiraProcess
from tests.unit.client.echo import Echo
from tests.unit.client.identity.given import QuickClock
from tests.unit.client.identity.trust import CALLER, ECHO, KERNEL, Root
from tests.unit.client.identity.world import calling

ONE = "/test.Echo/One"
SETTINGS = Settings(default_timeout=20)
OFTEN = Settings(clock=QuickClock())
"""So that directories are looked at every millisecond."""


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


@pytest.fixture
def kernel(tmp_path: Path, root: Root) -> Iterator[str]:
    """The address of a kernel that lets in whom the root vouches for."""
    identity = root.identity(KERNEL)
    files = {"cert_file": identity.svid, "key_file": identity.key, "client_ca_file": identity.bundle}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    tls = {name: str(tmp_path / name) for name in files}
    config = tmp_path / "sira.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "server": {"addresses": ["127.0.0.1:0"], "tls": {**tls, "client_auth": "required"}},
                "store": {"data_dir": str(tmp_path / "data")},
            }
        )
    )
    with SiraProcess("up", "-o", "json", "--config", str(config)) as process:
        yield process.json()["addresses"][0]


async def write(directory: Path, identity: Identity) -> None:
    """Makes an identity the current one of a directory, as the agent does."""
    files = identity_directory.IdentityFiles(svid=identity.svid, key=identity.key, bundle=identity.bundle)
    await asyncio.to_thread(identity_directory.write, directory, files)


@asynccontextmanager
async def serving(kernel: str, directory: Path, name: str) -> AsyncIterator[Echo]:
    """A program that serves and registers the echo service, with the identity in a directory."""
    async with IdentityFiles(directory, settings=OFTEN) as identity:
        echo = Echo(name, identity.server_credentials())
        await echo.start()
        async with (
            connect(kernel, identity=identity, settings=SETTINGS) as client,
            client.register("echo", port=echo.port) as registration,
        ):
            yield echo
            assert registration.state is RegistrationState.HELD
        await echo.stop()


async def settled(channel: BalancedChannel, count: int) -> None:
    """Waits until the channel is connected to so many endpoints."""
    async with asyncio.timeout(20):
        while len(channel._balancer._connected()) != count:
            await channel._balancer.changed()


async def suspects(client: Client) -> list[str]:
    events = (await client.resolver.ListEvents(ListEventsRequest(page_size=1000))).events
    return [event.resource for event in events if event.type == EVENT_TYPE_LEASE_SUSPECT]


async def test_directories_that_are_renewed_cost_no_call_and_no_registration(
    tmp_path: Path, kernel: str, root: Root
) -> None:
    served, own = tmp_path / "served", tmp_path / "own"
    await write(served, root.identity(ECHO))
    await write(own, root.identity(CALLER))
    identity = IdentityFiles(own, settings=OFTEN)
    async with (
        serving(kernel, served, "a"),
        serving(kernel, served, "b"),
        connect(kernel, identity=identity, settings=SETTINGS) as client,
        client.channel("echo") as channel,
    ):
        await settled(channel, 2)
        async with calling(channel.unary_unary(ONE)) as done:
            for _ in range(5):
                known, member, so_far = identity.current, client._link.member, done[0]
                before = set(channel._balancer._pool._subchannels.values())
                await write(served, root.identity(ECHO))
                await write(own, root.identity(CALLER))
                await identity.changed(known)
                async with asyncio.timeout(20):
                    await asyncio.shield(member.replaced)
                    while before & set(channel._balancer._pool._subchannels.values()):
                        await channel._balancer.changed()
                await client.resolve("echo")
                while done[0] < so_far + 20:
                    await channel.unary_unary(ONE)(b"", timeout=20)
        assert len(await client.resolve("echo")) == 2
        assert await suspects(client) == []
