from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from sira.identity.v1.authority_service_pb2 import GetIdentityStatusRequest
from sira.identity.v1.identity_service_pb2 import GetTrustBundleRequest
from sira.registry.v1.resolver_service_pb2 import ResolveRequest, ResolveResponse
from sira_client import Client, Identity, RegistrationState, Settings, SiraError, TlsFiles, UnavailableError, connect
from sira_client.bearer import expiry

from tests.unit.client.identity.given import Given, QuickClock, quick
from tests.unit.client.identity.said import Said
from tests.unit.client.identity.trust import KERNEL, Root, local_names
from tests.unit.client.in_memory_kernel import InMemoryKernel

Context = grpc.aio.ServicerContext[ResolveRequest, ResolveResponse]


def jwt(number: int = 0, ttl: float = 600.0) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"n": number, "exp": time.time() + ttl}).encode()).decode()
    return f"e30.{claims.rstrip('=')}.c2ln"


class Seen(InMemoryKernel):
    """Keeps the tokens that it was shown."""

    def __init__(self, credentials: Callable[[], grpc.ServerCredentials]) -> None:
        super().__init__(credentials)
        self.tokens: list[str] = []

    async def _enter(self, method: str, request: Any, context: Any) -> None:
        self.tokens.append(dict(context.invocation_metadata())["authorization"])
        await super()._enter(method, request, context)


@pytest.fixture
async def door(root: Root) -> AsyncIterator[Seen]:
    """A kernel that asks for no certificate, under the name of its host."""
    async with Given(root.identity(names=local_names(KERNEL))) as source:
        kernel = Seen(lambda: source.server_credentials(require_client_certificate=False))
        await kernel.start()
        yield kernel
        await kernel.stop()


@pytest.fixture
def ca(tmp_path: Path, root: Root) -> TlsFiles:
    path = tmp_path / "ca.pem"
    path.write_bytes(root.pem)
    return TlsFiles(ca=path)


def connected(door: Seen, ca: TlsFiles, bearer: Callable[[], Awaitable[str]], settings: Settings) -> Client:
    return connect(door.address, tls=ca, bearer=bearer, settings=settings)


def test_one_of_tls_and_identity_must_be_given(root: Root) -> None:
    tls, identity = TlsFiles(ca="ca.pem"), Given(root.identity())
    for arguments in ({}, {"tls": tls, "identity": identity}):
        with pytest.raises(ValueError, match="tls, identity: exactly one of them must be given"):
            connect("127.0.0.1:1", **arguments)  # type: ignore[arg-type]  # they are of different types

    async def token() -> str:
        return jwt()

    with pytest.raises(ValueError, match="bearer: goes with tls"):
        connect("127.0.0.1:1", identity=identity, bearer=token)


async def test_an_identity_that_is_not_to_be_had_is_an_error_at_the_beginning() -> None:
    source = Given()
    source.fail(FileNotFoundError("svid.pem"))
    client = connect("127.0.0.1:1", identity=source)
    with pytest.raises(FileNotFoundError, match=r"svid\.pem"):
        await client.__aenter__()
    assert source.following == 0


async def test_a_client_enters_its_identity_and_shares_it(root: Root) -> None:
    source = Given(root.identity())
    async with connect("127.0.0.1:1", identity=source), connect("127.0.0.1:2", identity=source):
        assert (source.followed, source.following) == (1, 1)
    assert source.following == 0


async def test_the_rpcs_about_identities_are_there(root: Root) -> None:
    async with Given(root.identity(KERNEL)) as kernel_identity:
        kernel = InMemoryKernel(kernel_identity.server_credentials)
        await kernel.start()
        async with connect(kernel.address, identity=Given(root.identity()), settings=quick()) as client:
            for call in (
                client.identity.GetTrustBundle(GetTrustBundleRequest()),
                client.authority.GetIdentityStatus(GetIdentityStatusRequest()),
            ):
                with pytest.raises(SiraError, match="UNIMPLEMENTED"):
                    await call
        await kernel.stop()


async def test_nothing_is_left_running(root: Root) -> None:
    source = Given(root.identity())
    async with connect(["127.0.0.1:1", "127.0.0.1:2"], identity=source, settings=quick()) as client:
        client.channel("echo")
        source.give(root.identity())
        await source.taken()
    assert not [task for task in asyncio.all_tasks() if "/sira_client/" in repr(task)]


async def test_an_identity_made_by_hand_will_do(root: Root) -> None:
    made = root.identity()
    assert Identity(svid=made.svid, key=made.key, bundle=made.bundle).channel_credentials() is not None


async def test_a_token_goes_with_every_call_and_stream(door: Seen, ca: TlsFiles) -> None:
    token = jwt()

    async def bearer() -> str:
        return token

    async with connected(door, ca, bearer, quick()) as client, client.register("echo", port=1):
        await client.resolve("echo")
    assert len(door.tokens) >= 3
    assert set(door.tokens) == {f"Bearer {token}"}


async def test_a_token_is_renewed_at_half_of_its_life_and_the_lease_moves(door: Seen, ca: TlsFiles) -> None:
    asked = 0

    async def bearer() -> str:
        nonlocal asked
        asked += 1
        return jwt(asked)

    settings = Settings(first_backoff=0.005, longest_backoff=0.05, clock=QuickClock())
    async with connected(door, ca, bearer, settings) as client, client.register("echo", port=1, drain_timeout=0) as one:
        await door.moved(3)
        assert one.state is RegistrationState.HELD
        assert len(set(door.tokens)) >= 3
    assert door.suspects == []


async def test_without_a_token_at_first_there_is_an_error(door: Seen, ca: TlsFiles) -> None:
    async def broken() -> str:
        raise KeyError("no token")

    async def malformed() -> str:
        return "a secret"

    with pytest.raises(UnavailableError, match="the bearer gave no token: KeyError"):
        await connected(door, ca, broken, quick()).__aenter__()
    with pytest.raises(ValueError, match="bearer: must give a JWT") as caught:
        await connected(door, ca, malformed, quick()).__aenter__()
    assert "a secret" not in str(caught.value)


async def test_a_token_stays_while_there_is_no_next_one(door: Seen, ca: TlsFiles, said: Said) -> None:
    tokens = [jwt()]

    async def bearer() -> str:
        return tokens.pop()

    settings = Settings(first_backoff=0.005, longest_backoff=0.05, clock=QuickClock())
    async with connected(door, ca, bearer, settings) as client:
        await said.until("the bearer gives nothing new, and is tried again")
        await client.resolve("echo")


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "a.e30.c", "a.W10.c", "a.eyJleHAiOiJ4In0.c", "a.\u00e9.c"])
def test_what_is_no_jwt_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="bearer: must give a JWT with an expiry"):
        expiry(token)
