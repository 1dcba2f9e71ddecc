"""SDS at an agent that runs, as a plain gRPC client sees it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from grpc import aio

from sira_grpc.agent import Agent
from sira_grpc.agent.sds import SERVICE
from sira_grpc.agent.sds_stream import TYPE_URL
from sira_grpc.errors import IdentityNotAllowed
from sira_grpc.svid import x509_svid
from tests.unit.agent.authority_double import AuthorityDouble, bundle_of
from tests.unit.agent.kernel_double import DOMAIN, KernelDouble
from tests.unit.agent.workload import CHECKOUT, MINE, ORDERS, served


class Envoy:
    """A client of SDS. Unlike the programs of the Workload API, it sends no header."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def state(self) -> Any:
        return self._channel.stream_stream(
            f"/{SERVICE}/StreamSecrets", DiscoveryRequest.SerializeToString, DiscoveryResponse.FromString
        )(timeout=20)

    def delta(self) -> Any:
        return self._channel.stream_stream(
            f"/{SERVICE}/DeltaSecrets", DeltaDiscoveryRequest.SerializeToString, DeltaDiscoveryResponse.FromString
        )(timeout=20)

    async def secrets(self, *names: str) -> dict[str, Secret]:
        """Asks once."""
        return secrets(await asked(self.state(), *names))

    async def refusal(self, *names: str) -> tuple[grpc.StatusCode, str]:
        """Asks for what is refused."""
        stream = self.state()
        await stream.write(DiscoveryRequest(type_url=TYPE_URL, resource_names=names))
        code = await stream.code()
        return code, await stream.details()


def secrets(response: DiscoveryResponse) -> dict[str, Secret]:
    found = [Secret.FromString(resource.value) for resource in response.resources]
    return {secret.name: secret for secret in found}


async def asked(stream: Any, *names: str) -> DiscoveryResponse:
    await stream.write(DiscoveryRequest(type_url=TYPE_URL, resource_names=names))
    response = await stream.read()
    assert isinstance(response, DiscoveryResponse)
    return response


@asynccontextmanager
async def envoy(place: Path) -> AsyncIterator[Envoy]:
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with aio.insecure_channel(f"unix:{place / 'run' / 'agent.sock'}", options) as channel:
        yield Envoy(channel)


def serial(secret: Secret) -> str:
    """Of a certificate, whose key is checked to be its own."""
    tls = secret.tls_certificate
    (leaf, *_) = x509_svid.read_pem(tls.certificate_chain.inline_bytes)
    key: Any = load_pem_private_key(tls.private_key.inline_bytes, None)
    assert leaf.public_key() == key.public_key()
    return x509_svid.serial_of(leaf)


async def test_who_names_nothing_gets_the_first_identity_and_the_roots(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place, workloads=[{**MINE, "identity": ORDERS}, MINE]), envoy(place) as client:
        found = await client.secrets()
        assert set(found) == {"default", "ROOTCA"}
        assert [serial(found["default"])] == kernel.certificates(ORDERS)
        (root,) = x509_svid.read_pem(found["ROOTCA"].validation_context.trusted_ca.inline_bytes)
        assert x509_svid.to_der(root) == kernel.authorities[0].root_der


async def test_every_identity_has_its_own_name(kernel: KernelDouble, place: Path) -> None:
    own, other = f"spiffe://{DOMAIN}/{CHECKOUT}", f"spiffe://{DOMAIN}/{ORDERS}"
    async with served(kernel, place, workloads=[MINE, {**MINE, "identity": ORDERS}]), envoy(place) as client:
        found = await client.secrets(own, other, "identity")
        assert [serial(found[other])] == kernel.certificates(ORDERS)
        assert serial(found[own]) == serial(found["identity"]) == kernel.certificates(CHECKOUT)[0]


async def test_each_trust_domain_has_its_roots(kernel: KernelDouble, place: Path) -> None:
    friend = AuthorityDouble("friend.test")
    kernel.federated = [bundle_of("friend.test", friend, sequence=1)]
    async with served(kernel, place) as (_, asking), envoy(place) as client:
        await kernel.acknowledged(kernel.revision)
        await asking.x509_bundles().read()
        found = await client.secrets("spiffe://friend.test", f"spiffe://{DOMAIN}", "trust", "ALL")
        (root,) = x509_svid.read_pem(found["spiffe://friend.test"].validation_context.trusted_ca.inline_bytes)
        assert x509_svid.to_der(root) == friend.root_der
        own = found[f"spiffe://{DOMAIN}"].validation_context.trusted_ca
        assert own == found["trust"].validation_context.trusted_ca
        assert b"friend.test" in found["ALL"].validation_context.SerializeToString()
        assert DOMAIN.encode() in found["ALL"].validation_context.SerializeToString()


async def test_both_variants_bring_each_change(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (agent, _), envoy(place) as client:
        state, delta = client.state(), client.delta()
        first = await asked(state, "default")
        await delta.write(DeltaDiscoveryRequest(type_url=TYPE_URL, resource_names_subscribe=["default", "trust"]))
        both: DeltaDiscoveryResponse = await delta.read()
        assert {resource.name for resource in both.resources} == {"default", "trust"}
        renew(agent)
        second: DiscoveryResponse = await state.read()
        changed: DeltaDiscoveryResponse = await delta.read()
        serials = [serial(secrets(answer)["default"]) for answer in (first, second)]
        assert serials == kernel.certificates(CHECKOUT)
        (resource,) = changed.resources
        assert serial(Secret.FromString(resource.resource.value)) == serials[1]


async def test_nobody_gets_what_he_is_not_entitled_to(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place), envoy(place) as client:
        code, details = await client.refusal(f"spiffe://{DOMAIN}/{ORDERS}")
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert ORDERS in details
        assert "default, identity" in details
    strangers = [{"identity": CHECKOUT, "uid": os.geteuid() + 1}]
    async with served(kernel, place, workloads=strangers), envoy(place) as client:
        code, details = await client.refusal("default")
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "no entry matches process" in details


async def test_what_the_kernel_refuses_is_refused(kernel: KernelDouble, place: Path) -> None:
    kernel.refusing = lambda identity: IdentityNotAllowed("not you") if identity.endswith(CHECKOUT) else None
    async with served(kernel, place), envoy(place) as client:
        code, details = await client.refusal("default")
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "not you" in details
    async with served(kernel, place, workloads=[MINE, {**MINE, "identity": ORDERS}]), envoy(place) as client:
        found = await client.secrets("default")
        assert serial(found["default"]) == kernel.certificates(ORDERS)[-1]


async def test_bad_requests_are_refused_and_say_why(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place), envoy(place) as client:
        stream = client.state()
        await stream.write(DiscoveryRequest(type_url="type.googleapis.com/other", resource_names=["default"]))
        assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "type_url" in await stream.details()
        code, details = await client.refusal(*(f"n{number}" for number in range(101)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "resource_names: must be at most 100" in details


async def test_an_envoy_may_say_all_that_it_can_do(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place), envoy(place) as client:
        stream = client.state()
        long = Node(id="x" * 200_000)
        await stream.write(DiscoveryRequest(type_url=TYPE_URL, node=long, resource_names=["trust"]))
        assert set(secrets(await stream.read())) == {"trust"}


async def test_a_client_that_ends_its_side_is_answered_and_gone(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (agent, _), envoy(place) as client:
        stream = client.state()
        await stream.write(DiscoveryRequest(type_url=TYPE_URL, resource_names=["trust"]))
        await stream.done_writing()
        assert set(secrets(await stream.read())) == {"trust"}
        assert await stream.code() is grpc.StatusCode.OK
        assert agent._holdings is not None
        assert agent._holdings.streams.subscribers == 1, "the agent's own"


async def test_streams_end_with_the_agent(kernel: KernelDouble, place: Path) -> None:
    async with envoy(place) as client:
        async with served(kernel, place):
            stream = client.state()
            await asked(stream, "default")
        async with asyncio.timeout(20):
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE


def renew(agent: Agent) -> None:
    holdings = agent._holdings
    assert holdings is not None
    (held,) = (held for held in holdings.held if held.identity.path == CHECKOUT)
    held.renew()
