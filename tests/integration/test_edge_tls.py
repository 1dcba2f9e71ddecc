"""TLS and mutual TLS: who may connect, and as whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc import aio
from sira.registry.v1.resolver_service_pb2 import ResolveRequest, ResolveResponse
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from sira_grpc.config import ServerConfig, TlsConfig
from sira_grpc.errors import ConfigError
from sira_grpc.rpc.call import Context, actor
from tests.integration.authority import Authority, Holder
from tests.integration.edge_server import SERVICE, Failure, Script, failure, serve


class Naming(Script):
    """Answers, and keeps as whom it was called."""

    def __init__(self) -> None:
        self.callers: list[str] = []

    async def resolve(self, request: ResolveRequest, context: Context) -> Any:
        self.callers.append(actor())
        return ResolveResponse(revision=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def tls(authority: Authority) -> TlsConfig:
    holder = authority.server()
    return TlsConfig(cert_file=str(holder.certificate), key_file=str(holder.key))


@pytest.fixture(scope="module")
def mtls(authority: Authority, tls: TlsConfig) -> TlsConfig:
    return TlsConfig(
        cert_file=tls.cert_file, key_file=tls.key_file, client_ca_file=str(authority.file), client_auth="required"
    )


def on(tls: TlsConfig, *addresses: str) -> ServerConfig:
    return ServerConfig(addresses=addresses or ("127.0.0.1:0",), tls=tls)


async def resolved(address: str, credentials: grpc.ChannelCredentials) -> ResolveResponse:
    async with aio.secure_channel(address, credentials) as channel:
        return await ResolverServiceStub(channel).Resolve(ResolveRequest(service=SERVICE), timeout=20)


async def refused(address: str, credentials: grpc.ChannelCredentials) -> Failure:
    told = await failure(resolved(address, credentials))
    assert told.code is grpc.StatusCode.UNAVAILABLE
    return told


async def test_a_client_that_trusts_the_authority_is_served_and_others_are_not(
    authority: Authority, tls: TlsConfig, tmp_path: Path
) -> None:
    script = Naming()
    async with serve(script, server=on(tls)) as served:
        assert (await resolved(served.address, authority.trust())).revision == 1
        await refused(served.address, Authority(tmp_path, "theirs").trust())
        plaintext = await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE), timeout=20))
        assert plaintext.code is grpc.StatusCode.UNAVAILABLE
    assert script.callers == ["127.0.0.1"]


async def test_a_certificate_that_was_not_asked_for_gives_no_identity(authority: Authority, tls: TlsConfig) -> None:
    script = Naming()
    client = authority.issue("client", x509.UniformResourceIdentifier("spiffe://example/client"))
    async with serve(script, server=on(tls)) as served:
        await resolved(served.address, authority.trust(client))
    assert script.callers == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("names", "identity"),
    [
        (
            [x509.DNSName("client.example"), x509.UniformResourceIdentifier("spiffe://example/ns/client")],
            "spiffe://example/ns/client",
        ),
        ([x509.DNSName("client.example"), x509.DNSName("other.example")], "dns:client.example"),
        ([], "cn:client"),
    ],
)
async def test_the_caller_is_whom_its_certificate_names(
    authority: Authority, mtls: TlsConfig, names: list[x509.GeneralName], identity: str
) -> None:
    script = Naming()
    async with serve(script, server=on(mtls)) as served:
        await resolved(served.address, authority.trust(authority.issue("client", *names)))
    assert script.callers == [identity]


async def test_without_a_certificate_of_the_authority_nobody_gets_in(
    authority: Authority, mtls: TlsConfig, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "theirs").issue("client")
    script = Naming()
    async with serve(script, server=on(mtls)) as served:
        await refused(served.address, authority.trust())
        await refused(served.address, authority.trust(stranger))
    assert script.callers == []


async def test_a_unix_socket_stays_plaintext_and_its_callers_anonymous(
    authority: Authority, mtls: TlsConfig, tmp_path: Path
) -> None:
    script = Naming()
    async with serve(script, server=on(mtls, f"unix:{tmp_path}/sira", "127.0.0.1:0")) as served:
        told = await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE)))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        secure = served.server.addresses[1]
        await resolved(secure, authority.trust(authority.issue("client")))
    assert script.callers == ["cn:client"]


async def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    server, other = authority.server(), authority.issue("other")
    missing, rubbish, locked = tmp_path / "missing", tmp_path / "rubbish", tmp_path / "locked"
    rubbish.write_text("rubbish", encoding="utf-8")
    locked.write_bytes(_encrypted(server))
    for holder, client_ca, message in (
        (Holder(missing, server.key), "", r"server\.tls\.cert_file: .*missing cannot be read: No such file"),
        (Holder(server.certificate, missing), "", r"server\.tls\.key_file: .*missing cannot be read: No such file"),
        (Holder(rubbish, server.key), "", r"server\.tls\.key_file: .* are no unencrypted PEM key and its certificate"),
        (Holder(server.certificate, other.key), "", r"are no unencrypted PEM key and its certificate"),
        (Holder(server.certificate, locked), "", r"are no unencrypted PEM key and its certificate"),
        (server, str(rubbish), r"server\.tls\.client_ca_file: .*rubbish holds no PEM certificate"),
    ):
        tls = TlsConfig(
            cert_file=str(holder.certificate),
            key_file=str(holder.key),
            client_ca_file=client_ca,
            client_auth="required" if client_ca else "none",
        )
        with pytest.raises(ConfigError, match=message):
            async with serve(server=on(tls)):
                pass


def _encrypted(holder: Holder) -> bytes:
    key = load_pem_private_key(holder.key.read_bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
