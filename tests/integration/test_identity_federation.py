"""Two trust domains that follow each other's roots, over real bundle endpoints."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from sira.identity.v1.authority_service_pb2 import ListFederatedBundlesRequest, SetFederatedBundleRequest
from sira.identity.v1.federated_bundle_pb2 import BundleEndpointProfile, FederatedBundle
from sira.identity.v1.identity_service_pb2 import GetTrustBundleRequest
from sira.kernel.v1.kernel_service_pb2 import GetStatusRequest
from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub
from sira_client import Client, IdentityFiles, connect

from sira_grpc.config import IdentityConfig, KernelConfig, ServerConfig, StoreConfig
from sira_grpc.identity import federation
from sira_grpc.kernel import Kernel
from sira_grpc.svid import identity_directory

SECONDS = 30
SPIFFE = BundleEndpointProfile.BUNDLE_ENDPOINT_PROFILE_HTTPS_SPIFFE


def kernel(folder: Path, trust_domain: str, *, bundle_address: str = "") -> Kernel:
    identity = IdentityConfig(
        enabled=True,
        dir=str(folder / "identity"),
        trust_domain=trust_domain,
        bundle_address=bundle_address,
        bundle_refresh_hint=1,
        rotation_min_stage=0,
    )
    server = ServerConfig(addresses=("127.0.0.1:0",), token_addresses=("127.0.0.1:0",))
    return Kernel(KernelConfig(server=server, store=StoreConfig(data_dir=str(folder / "data")), identity=identity))


def operator(running: Kernel) -> Client:
    assert running.identity is not None
    return connect(running.addresses[0], identity=IdentityFiles(running.identity.operator.directory))


async def roots_known(client: Client, trust_domain: str) -> list[bytes]:
    answer = await client.identity.GetTrustBundle(GetTrustBundleRequest(trust_domain=trust_domain))
    return list(answer.bundle.x509_authorities)


async def test_a_root_that_is_exchanged_there_is_known_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "MIN_REFRESH_SECONDS", 0.1)
    async with (
        kernel(tmp_path / "a", "a.test", bundle_address="127.0.0.1:0") as theirs,
        kernel(tmp_path / "b", "b.test") as ours,
        operator(ours) as client,
    ):
        assert theirs.identity is not None
        assert ours.identity is not None
        endpoint = FederatedBundle(
            endpoint_url=f"https://{theirs.bundle_address}/",
            endpoint_profile=SPIFFE,
            endpoint_identity=str(theirs.identity.member_identity),
        )
        document = theirs.identity.trust.document()
        request = SetFederatedBundleRequest(trust_domain="a.test", document=document, federated_bundle=endpoint)
        await client.authority.SetFederatedBundle(request)
        before = await roots_known(client, "a.test")
        assert before == list(theirs.identity.trust.bundle().x509_authorities)
        news = asyncio.Event()
        ours.identity.view.trust_changed.append(lambda revision: news.set())
        await theirs.identity.rotator.start()
        async with asyncio.timeout(SECONDS):
            while set(before) & set(await roots_known(client, "a.test")):
                await news.wait()
                news.clear()
        assert await roots_known(client, "a.test") == list(theirs.identity.trust.bundle().x509_authorities)
        (bundle,) = (await client.authority.ListFederatedBundles(ListFederatedBundlesRequest())).federated_bundles
        assert bundle.refresh_error == ""


async def test_who_is_of_another_trust_domain_does_not_get_in(tmp_path: Path) -> None:
    async with kernel(tmp_path / "a", "a.test") as theirs, kernel(tmp_path / "b", "b.test") as ours:
        assert theirs.identity is not None
        assert ours.identity is not None
        async with operator(ours) as client:
            document = theirs.identity.trust.document()
            request = SetFederatedBundleRequest(trust_domain="a.test", document=document)
            await client.authority.SetFederatedBundle(request)
        stranger = identity_directory.read(theirs.identity.operator.directory)
        bundle = identity_directory.read(ours.identity.operator.directory).bundle
        credentials = grpc.ssl_channel_credentials(bundle, stranger.key, stranger.svid)
        async with grpc.aio.secure_channel(ours.addresses[0], credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await KernelServiceStub(channel).GetStatus(GetStatusRequest(), timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE  # the handshake fails
