from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cryptography import x509
from sira_client import Identity

from tests.unit.client.balanced.echo_service import ONE
from tests.unit.client.echo import Echo
from tests.unit.client.identity.given import Given
from tests.unit.client.identity.trust import CALLER, ECHO, Root
from tests.unit.client.identity.world import calling

OPTIONS = (("grpc.ssl_target_name_override", "echo.default.example.org"), ("grpc.use_local_subchannel_pool", 1))


@pytest.fixture
async def served(root: Root) -> AsyncIterator[Given]:
    async with Given(root.identity(ECHO)) as source:
        yield source


def one(channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    return channel.unary_unary(ONE)


def dialed(echo: Echo, credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(echo.address, credentials, OPTIONS)


async def reached(echo: Echo, identity: Identity, **arguments: Any) -> bool:
    """Whether a new connection with an identity gets through."""
    async with dialed(echo, identity.channel_credentials(**arguments)) as channel:
        code = await one(channel)(b"", timeout=20).code()
        assert code in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        return code is grpc.StatusCode.OK


async def test_a_server_shows_its_next_certificate_without_a_restart(served: Given, root: Root) -> None:
    echo = Echo("one", served.server_credentials(require_client_certificate=False))
    await echo.start()

    def shown() -> int:
        certificate = ssl.get_server_certificate(("127.0.0.1", echo.port), timeout=20)
        return x509.load_pem_x509_certificate(certificate.encode()).serial_number

    for identity in (served.current, root.identity(ECHO), root.identity(ECHO)):
        served.give(identity)
        await served.taken()
        for _ in range(2):
            serial = x509.load_pem_x509_certificates(identity.svid)[0].serial_number
            assert await asyncio.to_thread(shown) == serial
    await echo.stop()


async def test_connections_that_are_up_stay_so(served: Given, root: Root) -> None:
    echo = Echo("one", served.server_credentials())
    await echo.start()
    async with (
        dialed(echo, root.identity().channel_credentials()) as channel,
        calling(one(channel)) as done,
    ):
        for _ in range(10):
            so_far = done[0]
            served.give(root.identity(ECHO))
            await served.taken()
            assert await reached(echo, root.identity())
            while done[0] == so_far:
                await one(channel)(b"")
    await echo.stop()


async def test_whom_it_trusts_changes_with_the_identity(served: Given, root: Root, next_root: Root) -> None:
    echo = Echo("one", served.server_credentials())
    await echo.start()
    newcomer = next_root.identity(CALLER, root)
    assert not await reached(echo, newcomer)
    served.give(root.identity(ECHO, next_root))
    await served.taken()
    assert await reached(echo, newcomer)
    assert await reached(echo, root.identity())
    served.give(next_root.identity(ECHO))
    await served.taken()
    assert await reached(echo, Identity(newcomer.svid, newcomer.key, next_root.pem))
    assert not await reached(echo, root.identity(CALLER, next_root))
    await echo.stop()


async def test_who_shows_no_certificate_is_let_in_only_if_told_so(served: Given, root: Root) -> None:
    for required in (True, False):
        echo = Echo("one", served.server_credentials(require_client_certificate=required))
        await echo.start()
        async with dialed(echo, grpc.ssl_channel_credentials(root.pem)) as channel:
            call = one(channel)(b"", timeout=20)
            expected = grpc.StatusCode.UNAVAILABLE if required else grpc.StatusCode.OK
            assert await call.code() is expected
        await echo.stop()


async def test_other_trust_domains_are_trusted_only_on_request(root: Root, next_root: Root) -> None:
    ours = root.identity(ECHO, federated={"other.org": next_root.pem})
    theirs = next_root.identity("spiffe://other.org/ns/default/svc/caller", federated={"example.org": root.pem})
    async with Given(ours) as served:
        for federated in (False, True):
            echo = Echo("one", served.server_credentials(federated=federated))
            await echo.start()
            assert await reached(echo, theirs, federated=True) is federated
            assert not await reached(echo, theirs)
            await echo.stop()


async def test_a_channel_of_ones_own_has_the_identity_of_the_moment(served: Given, root: Root) -> None:
    echo = Echo("one", served.server_credentials())
    await echo.start()
    async with dialed(echo, served.channel_credentials()) as channel:
        assert await one(channel)(b"", timeout=20) == b"one"
    await echo.stop()
