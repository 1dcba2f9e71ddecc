"""Every address of a kernel with identity shows the certificate that there is, and knows the roots that there are."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc import aio
from sira.identity.v1.identity_service_pb2 import GetTrustBundleRequest
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sira.kernel.v1.kernel_service_pb2 import GetStatusRequest
from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub

from sira_grpc.config import AuthorizationConfig, IdentityConfig, KernelConfig, ServerConfig, StoreConfig
from sira_grpc.kernel import Kernel
from sira_grpc.svid import identity_directory
from sira_grpc.svid.identity_directory import IdentityFiles
from tests.integration.identity_kernel import DOMAIN
from tests.integration.registry_kernel import refusal

PATIENCE = 20


def config(path: Path, **more: object) -> KernelConfig:
    return KernelConfig(
        server=ServerConfig(
            addresses=("127.0.0.1:0", "localhost:0", f"unix:{path}/socket"),
            token_addresses=("127.0.0.1:0", "localhost:0"),
            drain_grace=1,
        ),
        store=StoreConfig(data_dir=str(path / "data")),
        identity=IdentityConfig(enabled=True, dir=str(path / "identity"), trust_domain=DOMAIN),
        **more,  # type: ignore[arg-type]  # its sections
    )


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    async with Kernel(config(tmp_path)) as started:
        yield started


def operator(kernel: Kernel) -> IdentityFiles:
    assert kernel.identity is not None
    return identity_directory.read(kernel.identity.operator.directory)


async def shown(address: str) -> list[x509.Certificate]:
    """The certificate that an address shows to whoever comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(PATIENCE):
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return [x509.load_der_x509_certificate(der)]


async def status(address: str, files: IdentityFiles) -> None:
    """Calls with a certificate."""
    credentials = grpc.ssl_channel_credentials(files.bundle, files.key, files.svid)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with aio.secure_channel(address, credentials, options) as channel:
        await KernelServiceStub(channel).GetStatus(GetStatusRequest(), timeout=PATIENCE)


def doors(kernel: Kernel) -> list[str]:
    """The addresses with TLS."""
    return [address for address in (*kernel.addresses, *kernel.token_addresses) if not address.startswith("unix:")]


async def test_every_address_serves(kernel: Kernel) -> None:
    assert len(doors(kernel)) == len({address.rpartition(":")[2] for address in doors(kernel)}) == 4
    for address in kernel.addresses[:2]:
        await status(address, operator(kernel))
    for address in kernel.token_addresses:
        async with aio.secure_channel(address, grpc.ssl_channel_credentials(operator(kernel).bundle)) as channel:
            await IdentityServiceStub(channel).GetTrustBundle(GetTrustBundleRequest(), timeout=PATIENCE)


async def test_a_unix_socket_is_plaintext_and_its_callers_have_no_identity(kernel: Kernel) -> None:
    async with aio.insecure_channel(kernel.addresses[2]) as channel:
        await IdentityServiceStub(channel).GetTrustBundle(GetTrustBundleRequest(), timeout=PATIENCE)
        told = await refusal(KernelServiceStub(channel).GetStatus(GetStatusRequest(), timeout=PATIENCE))
    assert told == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


async def test_every_address_shows_a_renewed_certificate(kernel: Kernel) -> None:
    assert kernel.identity is not None
    for _ in range(3):
        await kernel.identity._own[0].renew()
        current = x509.load_pem_x509_certificate(kernel.identity.member.read().chain)
        for _ in range(2):
            for address in doors(kernel):
                assert await shown(address) == [current], address


async def test_every_address_knows_the_roots_that_there_are(kernel: Kernel) -> None:
    identity, before = kernel.identity, operator(kernel)
    assert identity is not None
    await identity.rotator.start()
    for stage in (1, 2):
        await identity.rotator.advance(stage)  # type: ignore[arg-type]  # a stage
    async with asyncio.timeout(PATIENCE):
        while (after := operator(kernel)).svid == before.svid or after.bundle.count(b"BEGIN") > 1:
            await asyncio.to_thread(lambda: None)
    for address in kernel.addresses[:2]:
        await status(address, after)
        with pytest.raises(aio.AioRpcError) as caught:
            await status(address, IdentityFiles(svid=before.svid, key=before.key, bundle=after.bundle))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_who_has_no_identity_may_read_where_that_is_allowed(tmp_path: Path) -> None:
    async with Kernel(config(tmp_path, authorization=AuthorizationConfig(anonymous="read"))) as kernel:
        credentials = grpc.ssl_channel_credentials(operator(kernel).bundle)
        async with aio.secure_channel(kernel.token_addresses[0], credentials) as channel:
            await KernelServiceStub(channel).GetStatus(GetStatusRequest(), timeout=PATIENCE)
