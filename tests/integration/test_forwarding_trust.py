"""Whom members take for a member: with identity, and with TLS from files."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from grpc import aio
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishRequest
from sira.bus.v1.record_pb2 import Record
from sira.identity.v1.join_token_pb2 import JoinToken

from sira_grpc.bundle_endpoint import BundleFetcher
from sira_grpc.clock import SystemClock
from sira_grpc.config import IdentityConfig, ServerConfig, TlsConfig
from sira_grpc.errors import ConfigError
from sira_grpc.identity.identity import Identity, open_identity
from sira_grpc.rpc.call import Context, current_call
from sira_grpc.rpc.forwarding.peer_credentials import MemberTrust, peer_credentials
from sira_grpc.rpc.forwarding.signature import HEADER
from sira_grpc.store import open_sqlite
from sira_grpc.svid import signing_request, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.integration.authority import Authority
from tests.integration.edge_server import failure
from tests.integration.forwarding_world import FRAMES, PUBLISH, TOPIC, Member, Serving, world

DOMAIN = "td.test"
WEB = f"spiffe://{DOMAIN}/ns/default/svc/web"
REQUEST = PublishRequest(topic=TOPIC, records=[Record(payload=b"x")])
SERVER = ServerConfig(addresses=("127.0.0.1:0",), token_addresses=(), drain_grace=0.2)


@pytest.fixture
async def identity(tmp_path: Path) -> AsyncIterator[Identity]:
    """Identity on a store of its own, on real time: TLS looks at the machine's clock."""
    clock = SystemClock()
    store = await open_sqlite(tmp_path / "data", clock=clock)
    opened = await open_identity(
        store,
        BundleFetcher(),
        IdentityConfig(enabled=True, dir=str(tmp_path / "identity"), trust_domain=DOMAIN),
        host="host",
        names=["localhost", "127.0.0.1"],
        clock=clock,
        random_bytes=secrets.token_bytes,
    )
    yield opened
    await opened.close()
    await store.close()


async def _credentials(identity: Identity, name: str) -> grpc.ChannelCredentials:
    """What a caller with an identity connects with."""
    asked = JoinToken(identities=[name])
    _, secret = await identity.tokens.create(asked, ttl=600, actor="test")
    key, csr = signing_request.make(SpiffeId.parse(name), ())
    issued = await identity.issuer.certificate(
        csr, join_token=str(secret), ttl=None, supersedes="", caller=None, actor="test"
    )
    chain = x509_svid.to_pem([x509_svid.read_der(der) for der in issued.chain])
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return grpc.ssl_channel_credentials(identity.member.read().roots, pem, chain)


def _keep_callers(member: Member) -> list[tuple[str, str, str, bool]]:
    """Has a member keep who its calls are of."""
    seen: list[tuple[str, str, str, bool]] = []
    publish = member.shapes.publish

    async def noted(request: Any, context: Context) -> Any:
        call = current_call()
        seen.append((call.forwarded, call.identity, call.caller, call.credential is None))
        return await publish(request, context)

    member.shapes.publish = noted  # type: ignore[method-assign]
    return seen


async def test_with_identity_the_owner_knows_who_called_the_first_member(identity: Identity) -> None:
    client = await _credentials(identity, WEB)
    async with world(serving=Serving(SERVER, identity, client=client)) as members:
        first, owner = members.members
        seen = _keep_callers(owner)
        await first.call(PUBLISH)(REQUEST)
        assert seen == [("m0", WEB, WEB, True)]
        frames = [PublishFramesRequest(topic=TOPIC, frame=b"abc")] * 3
        assert [r.offset async for r in first.call(FRAMES)(iter(frames))] == [3, 3, 3]


async def test_with_identity_a_signature_counts_on_the_connection_of_a_member_only(identity: Identity) -> None:
    client = await _credentials(identity, WEB)
    async with world(serving=Serving(SERVER, identity, client=client)) as members:
        first, owner = members.members
        header = first.forwarding.signer.sign(PUBLISH, identity=f"spiffe://{DOMAIN}/operator/o", caller="o")
        told = await failure(owner.call(PUBLISH)(REQUEST, metadata=((HEADER, header),)))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
        assert "certificate of a member" in told.message


async def test_with_identity_the_certificate_of_a_member_is_no_signature(identity: Identity) -> None:
    held = identity.member.read()
    client = grpc.ssl_channel_credentials(held.roots, held.key, held.chain)
    async with world(serving=Serving(SERVER, identity, client=client)) as members:
        _, owner = members.members
        told = await failure(owner.call(PUBLISH)(REQUEST, metadata=((HEADER, b"forged"),)))
        assert told.reason == "CREDENTIAL_INVALID"


async def test_with_identity_new_calls_show_the_new_certificate_and_old_streams_go_on(identity: Identity) -> None:
    client = await _credentials(identity, WEB)
    async with world(serving=Serving(SERVER, identity, client=client)) as members:
        first, owner = members.members
        peers: set[str] = set()
        frames = owner.shapes.frames

        async def noted(requests: Any, context: Context) -> AsyncIterator[Any]:
            peers.add(context.peer())
            async for response in frames(requests, context):
                yield response

        owner.shapes.frames = noted  # type: ignore[method-assign]
        frame = PublishFramesRequest(topic=TOPIC, frame=b"abc")
        streams = []
        for _ in range(2):
            streams.append(first.call(FRAMES)())
            await streams[-1].write(frame)
            assert (await streams[-1].read()).offset == 3
            identity.member.current = replace(identity.member.current)  # as when it is renewed
        for stream in streams:
            await stream.write(frame)
            assert (await stream.read()).offset == 3
        assert len(peers) == 2


async def test_with_identity_nobody_else_is_taken_for_the_owner(identity: Identity) -> None:
    client = await _credentials(identity, WEB)
    async with world(serving=Serving(SERVER, identity, client=client), patience=0.5) as members:
        first, _ = members.members
        asked: list[str] = []
        impostor = aio.server()
        impostor.add_generic_rpc_handlers((_Keeping(asked),))
        port = impostor.add_insecure_port("127.0.0.1:0")
        await impostor.start()
        members.addresses["m1"] = (f"127.0.0.1:{port}",)
        told = await failure(first.call(PUBLISH)(REQUEST))
        await impostor.stop(None)
        assert (told.reason, told.metadata["executed"], asked) == ("NOT_OWNER", "no", [])


class _Keeping(grpc.GenericRpcHandler):
    def __init__(self, asked: list[str]) -> None:
        self._asked = asked

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        self._asked.append(str(handler_call_details.method))


@pytest.mark.parametrize("mutual", [False, True])
async def test_with_tls_from_files_members_verify_each_other_by_the_ca_file(tmp_path: Path, mutual: bool) -> None:
    authority = Authority(tmp_path, "ours")
    holder = authority.server()
    tls = TlsConfig(
        cert_file=str(holder.certificate),
        key_file=str(holder.key),
        client_ca_file=str(authority.file) if mutual else "",
        client_auth="required" if mutual else "none",
    )
    client = authority.trust(authority.issue("client") if mutual else None)
    server = ServerConfig(addresses=("127.0.0.1:0",), tls=tls, drain_grace=0.2)
    async with world(serving=Serving(server, ca_file=str(authority.file), client=client)) as members:
        first, owner = members.members
        seen = _keep_callers(owner)
        await first.call(PUBLISH)(REQUEST)
        name = "cn:client" if mutual else ""
        assert seen == [("m0", name, name or "127.0.0.1", True)]


@pytest.mark.parametrize("ca_file", ["", "missing.pem", "empty.pem"])
def test_tls_from_files_without_a_ca_file_is_refused(tmp_path: Path, ca_file: str) -> None:
    (tmp_path / "empty.pem").touch()
    server = ServerConfig(tls=TlsConfig(cert_file="a", key_file="b"))
    with pytest.raises(ConfigError, match=r"cluster\.tls_ca_file"):
        peer_credentials(MemberTrust(b"s" * 32, server, ca_file=str(tmp_path / ca_file) if ca_file else ""))
