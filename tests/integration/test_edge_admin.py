"""What tools find: reflection and channelz; and where the server listens."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sira.registry.v1.resolver_service_pb2 import ResolveRequest

from sira_grpc.config import ServerConfig
from sira_grpc.errors import ConfigError
from tests.integration.edge_server import REGISTRY, RESOLVER, SERVICE, failure, serve


async def test_reflection_describes_every_service() -> None:
    async with serve() as served:
        stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        asked: Any = reflection_pb2.ServerReflectionRequest
        answers = [
            answer
            async for answer in stub.ServerReflectionInfo(
                iter([asked(list_services=""), asked(file_containing_symbol=RESOLVER)])
            )
        ]
    assert {service.name for service in answers[0].list_services_response.service} == {
        RESOLVER,
        REGISTRY,
        "grpc.health.v1.Health",
        "grpc.channelz.v1.Channelz",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert answers[1].file_descriptor_response.file_descriptor_proto


async def test_channelz_shows_the_server() -> None:
    async with serve() as served:
        await served.resolver.Resolve(ResolveRequest(service=SERVICE))
        stub = channelz_pb2_grpc.ChannelzStub(served.channel)
        servers = await stub.GetServers(channelz_pb2.GetServersRequest())
        assert any(server.data.calls_started >= 1 for server in servers.server)
        told = await failure(stub.GetServer(channelz_pb2.GetServerRequest(server_id=987_654)))
        assert told.code is grpc.StatusCode.NOT_FOUND


async def test_it_listens_at_every_address(tmp_path: Path) -> None:
    addresses = ("127.0.0.1:0", f"unix:{tmp_path}/sira", "[::1]:0" if socket.has_ipv6 else "127.0.0.2:0")
    async with serve(server=ServerConfig(addresses=addresses)) as served:
        assert len(served.server.addresses) == 3
        assert not any(address.endswith(":0") for address in served.server.addresses)
        for address in served.server.addresses:
            async with aio.insecure_channel(address) as channel:
                await channel.channel_ready()


async def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    async with serve(server=ServerConfig(addresses=("127.0.0.1:0", f"unix:{tmp_path}/sira"))) as served:
        tcp, unix = served.server.addresses
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            free = f"127.0.0.1:{chosen.getsockname()[1]}"
        with pytest.raises(ConfigError, match=rf"server\.addresses\[1\]: {tcp} cannot be bound"):
            async with serve(server=ServerConfig(addresses=(free, tcp))):
                pass
        async with serve(server=ServerConfig(addresses=(free,))):
            pass
        with pytest.raises(ConfigError, match=r"server\.addresses\[0\]: unix:.*/sira is taken"):
            async with serve(server=ServerConfig(addresses=(unix,))):
                pass
        await served.resolver.Resolve(ResolveRequest(service=SERVICE))
    # What a kernel leaves behind, or one that was killed, is no hindrance.
    (tmp_path / "sira").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{tmp_path}/sira")
    async with serve(server=ServerConfig(addresses=(unix,))) as served:
        await served.resolver.Resolve(ResolveRequest(service=SERVICE))


async def test_thousands_of_calls_at_once_are_all_served() -> None:
    async with serve() as served:
        calls = [served.resolver.Resolve(ResolveRequest(service=SERVICE)) for _ in range(4000)]
        assert len(await asyncio.gather(*calls)) == 4000
