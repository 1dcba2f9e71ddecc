"""`sira sidecar` where everybody has an identity: mutual TLS, who may call what, and joining with a token."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.access_policy_pb2 import AccessPolicy, AllowRule
from sira.registry.v1.registry_service_pb2 import UpdateServiceRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TlsMode, TrafficPolicy

from sira_grpc.cli.exits import ExitCode
from sira_grpc.svid import identity_directory
from tests.integration.envoy import needs_envoy
from tests.integration.envoy_mesh import Calls, app, calling, free_ports, sidecar
from tests.integration.identity_process import TRUST_DOMAIN, KernelProcess, connect
from tests.integration.sira_process import up

pytestmark = needs_envoy
MUTUAL = TrafficPolicy(tls=TlsMode.TLS_MODE_MUTUAL)


@pytest.fixture
def place() -> Iterator[Path]:
    """With a short path, as Unix sockets want it."""
    made = Path(tempfile.mkdtemp(prefix="sira-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    folder = tmp_path_factory.mktemp("kernel")
    with up(folder, environment={"SIRA_LOG_LEVEL": "error"}) as process:
        ready = process.json()
        yield KernelProcess(process, ready["addresses"][0], ready["tokenAddresses"][0], ready["rootSha256"], folder)


async def directory_of(kernel: KernelProcess, place: Path, name: str) -> Path:
    """Has a service join, and keeps its identity in a directory."""
    _, secret = await kernel.create_token()
    member = await kernel.join(name, secret)
    await member.close()
    identity_directory.write(place / name, member.files)
    return place / name


@asynccontextmanager
async def sidecars(kernel: KernelProcess, place: Path, *callers: str) -> AsyncIterator[list[Calls]]:
    """A sidecar of checkout, and of each caller; yields the callers' calls to it."""
    async with AsyncExitStack() as stack:
        inbound, target, *egress = free_ports(2 + len(callers))
        own = await directory_of(kernel, place, "checkout")
        options = ["--identity", str(own), "--inbound", f"{inbound}:{target}"]
        server = stack.enter_context(sidecar(kernel.address, "checkout", *options, "--", *app(target, "checkout")))
        told = await asyncio.to_thread(server.json)
        assert told["identity"] == f"spiffe://{TRUST_DOMAIN}/ns/default/svc/checkout"
        made = []
        for name, port in zip(callers, egress, strict=True):
            shown = await directory_of(kernel, place, name)
            process = sidecar(kernel.address, name, "--identity", str(shown), "--egress", str(port))
            await asyncio.to_thread(stack.enter_context(process).json)
            made.append(await stack.enter_async_context(calling(port, "checkout")))
        yield made


async def mutual(kernel: KernelProcess, service: str, *sources: str) -> None:
    """Has a service reached by mutual TLS alone: by all, or by some services only."""
    rules = [AllowRule(sources=[f"namespaces/default/services/{source}"]) for source in sources]
    changed = Service(
        name=f"namespaces/default/services/{service}",
        traffic_policy=MUTUAL,
        access_policy=AccessPolicy(allow=rules) if rules else None,
    )
    fields = ["traffic_policy.tls", *(["access_policy"] if rules else [])]
    request = UpdateServiceRequest(service=changed, update_mask=FieldMask(paths=fields))
    async with connect(kernel.address, await asyncio.to_thread(kernel.operator)) as channel:
        registry: Any = RegistryServiceStub(channel)
        await registry.UpdateService(request)


async def test_callers_are_told_apart_by_what_they_prove(kernel: KernelProcess, place: Path) -> None:
    async with sidecars(kernel, place, "frontend", "stranger") as (frontend, stranger):
        for calls in (frontend, stranger):
            await calls.until(lambda answer: answer == "checkout")
        await mutual(kernel, "checkout")
        for calls, name in ((frontend, "frontend"), (stranger, "stranger")):
            await calls.until(_shows(name), "Caller")
        await mutual(kernel, "checkout", "frontend")
        await stranger.until(lambda answer: answer == "PERMISSION_DENIED")
        assert await frontend() == "checkout"
        code, _ = await stranger.refusal()
        assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_who_proves_nothing_gets_nowhere(kernel: KernelProcess, place: Path) -> None:
    inbound, target = free_ports(2)
    own = await directory_of(kernel, place, "orders")
    options = ["--identity", str(own), "--inbound", f"{inbound}:{target}"]
    with sidecar(kernel.address, "orders", *options, "--", *app(target, "orders")) as process:
        await asyncio.to_thread(process.json)
        async with calling(inbound, "orders") as plaintext:
            await plaintext.until(lambda answer: answer == "orders")
        await mutual(kernel, "orders")
        async with calling(inbound, "orders") as plaintext:
            await plaintext.until(lambda answer: answer == "UNAVAILABLE")
        assert await asyncio.to_thread(process.terminate) == 0


async def test_a_token_is_all_it_takes(kernel: KernelProcess, place: Path) -> None:
    _, secret = await kernel.create_token()
    inbound, target = free_ports(2)
    own = place / "own"
    options = ["--identity", str(own), "--join", kernel.token_address, "--inbound", f"{inbound}:{target}"]
    command = ["--", *app(target, "pay")]
    with sidecar(kernel.address, "pay", *options, *command, environment={"SIRA_JOIN_TOKEN": secret}) as first:
        told = await asyncio.to_thread(first.json)
        assert told["identity"] == f"spiffe://{TRUST_DOMAIN}/ns/default/svc/pay"
        async with calling(inbound, "pay") as calls:
            await calls.until(lambda answer: answer == "pay")
        assert await asyncio.to_thread(first.terminate) == 0
    with sidecar(kernel.address, "pay", *options, *command) as again:
        assert (await asyncio.to_thread(again.json))["identity"] == told["identity"]
        assert await asyncio.to_thread(again.terminate) == 0


async def test_the_identity_of_another_service_is_refused(kernel: KernelProcess, place: Path) -> None:
    own = await directory_of(kernel, place, "checkout")
    (egress,) = free_ports(1)
    with sidecar(kernel.address, "pay", "--identity", str(own), "--egress", str(egress)) as process:
        assert await asyncio.to_thread(process.wait) == ExitCode.REFUSED
        assert "not that of pay in the namespace default" in process.rest()[-1]


async def test_without_an_identity_nothing_begins(kernel: KernelProcess, place: Path) -> None:
    (egress,) = free_ports(1)
    with sidecar(kernel.address, "pay", "--identity", str(place / "none"), "--egress", str(egress)) as process:
        assert await asyncio.to_thread(process.wait) == ExitCode.REFUSED
        assert "gives no identity" in process.rest()[-1]


def _shows(name: str) -> Callable[[str], bool]:
    """Whether the service is told that a service calls it."""
    return lambda told: told.endswith(f";URI=spiffe://{TRUST_DOMAIN}/ns/default/svc/{name}")
