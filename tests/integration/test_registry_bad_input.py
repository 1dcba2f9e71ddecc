"""Bad input to every RPC: the documented reason, and nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc import aio
from sira.kernel.v1 import kernel_service_pb2
from sira.registry.v1 import registry_service_pb2, resolver_service_pb2
from sira.registry.v1.registry_service_pb2 import RegisterEndpointsRequest

from tests.clocks import FakeClock
from tests.integration.registry_cases import accepted, cases
from tests.integration.registry_kernel import DETAILS, Running, endpoint, reason_of, running
from tests.integration.registry_world import Case, World, prepare

SERVICES = [
    registry_service_pb2.DESCRIPTOR.services_by_name["RegistryService"],
    resolver_service_pb2.DESCRIPTOR.services_by_name["ResolverService"],
    kernel_service_pb2.DESCRIPTOR.services_by_name["KernelService"],
]
METHODS: dict[str, MethodDescriptor] = {
    f"{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods
}
EVERY_RPC = pytest.mark.parametrize("rpc", METHODS)
NOBODY = World(key="k", other_key="o", wrong_key="w", lease="leases/l", page_token="t")


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    # Time stands still: no lease expires while a case is tried.
    async with running(tmp_path, clock=FakeClock()) as made:
        yield made


@pytest.fixture
async def world(kernel: Running) -> World:
    return await prepare(kernel)


async def call(
    kernel: Running, rpc: str, requests: Sequence[bytes], *, metadata: Sequence[tuple[str, str]] = ()
) -> list[bytes]:
    """Makes a call with messages as they are on the wire and returns those that came; of a Watch, the first."""
    stream = start(kernel, rpc, requests[0] if requests else b"", metadata=metadata)
    method = METHODS[rpc]
    if method.client_streaming:
        for request in requests:
            await stream.write(request)
        await stream.done_writing()
        return [response async for response in stream] if method.server_streaming else [await stream]
    if method.server_streaming:
        first = await stream.read()
        stream.cancel()
        return [first]
    return [await stream]


def start(kernel: Running, rpc: str, request: bytes, *, metadata: Sequence[tuple[str, str]] = ()) -> Any:
    """Starts a call; where the client streams, the request is not sent."""
    method = METHODS[rpc]
    sides = ["stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming)]
    make: Any = getattr(kernel.channel, "_".join(sides))(f"/{rpc}")
    options = {"metadata": aio.Metadata(*metadata)}
    return make(**options) if method.client_streaming else make(request, **options)


async def error_of(kernel: Running, rpc: str, *requests: bytes, **options: Any) -> aio.AioRpcError:
    try:
        await call(kernel, rpc, requests, **options)
    except aio.AioRpcError as error:
        return error
    raise AssertionError("was not refused")


def fields_of(error: aio.AioRpcError) -> list[str]:
    """The fields that the error names."""
    bad = BadRequest()
    for detail in Status.FromString(dict(error.trailing_metadata() or ())[DETAILS]).details:
        detail.Unpack(bad)
    return [violation.field for violation in bad.field_violations]


def test_every_rpc_has_its_cases() -> None:
    assert cases(NOBODY).keys() == METHODS.keys()
    assert accepted(NOBODY).keys() == {method.name for method in METHODS.values()}
    assert all(given for rpc, given in cases(NOBODY).items() if METHODS[rpc].input_type.fields)


@EVERY_RPC
async def test_what_is_wrong_is_refused_and_changes_nothing(kernel: Running, world: World, rpc: str) -> None:
    before = await kernel.status()
    for case in cases(world)[rpc]:
        error = await error_of(kernel, rpc, *(request.SerializeToString() for request in case.requests))
        assert (error.code(), reason_of(error)) == (case.code, case.reason), told(case, error)
        assert error.details(), told(case, error)
        if case.reason == "INVALID_FIELD" and case.field:
            assert any(field.startswith(case.field) for field in fields_of(error)), told(case, error)
        assert (await kernel.status()).revision == before.revision, told(case, error)
    assert await kernel.status() == before
    # With nothing wrong it is taken: the cases failed for what they are about.
    assert await call(kernel, rpc, [accepted(world)[METHODS[rpc].name].SerializeToString()])


def told(case: Case, error: aio.AioRpcError) -> str:
    return f"{case.requests}\n{error.code()} {reason_of(error)}: {error.details()}"


async def test_what_cannot_be_read_is_refused(kernel: Running, world: World) -> None:
    before = await kernel.status()
    for rpc in METHODS:
        for garbage in (b"\xff", b"\x0a\x05ab", b"\x07"):
            error = await error_of(kernel, rpc, garbage)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), rpc
    assert await kernel.status() == before


async def test_what_is_too_large_is_refused(kernel: Running, world: World) -> None:
    before = await kernel.status()
    size = 10 << 20
    unknown_field = b"\xfa\x7f" + varint(size) + bytes(size)
    headers = [("x-large", "x" * (1 << 15))]
    for rpc, method in METHODS.items():
        error = await error_of(kernel, rpc, unknown_field)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, rpc
        request = accepted(world)[method.name].SerializeToString()
        error = await error_of(kernel, rpc, request, metadata=headers)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, rpc
    assert await kernel.status() == before


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


async def test_a_call_that_is_cancelled_leaves_a_kernel_that_serves(kernel: Running, world: World) -> None:
    for rpc, method in METHODS.items():
        before = await kernel.status()
        request = accepted(world)[method.name].SerializeToString()
        for send in (False, True):
            started = start(kernel, rpc, request)
            if send and method.client_streaming:
                await started.write(request)
            started.cancel()
            assert await started.code() == grpc.StatusCode.CANCELLED, rpc
        after = await kernel.status()
        if not changes(method):
            assert after.registry == before.registry, rpc
        assert after.revision >= before.revision


def changes(method: MethodDescriptor) -> bool:
    """Whether the RPC may have been carried out before it was cancelled, and left something."""
    return method.containing_service.name == "RegistryService"


async def test_a_registration_repeated_changes_nothing(kernel: Running, world: World) -> None:
    before = await kernel.status()
    request = RegisterEndpointsRequest(lease_key=world.key, endpoints=[endpoint("mine")])
    for _ in range(3):
        response = await kernel.registry.RegisterEndpoints(request)
        assert response.revision == before.revision
    assert await kernel.status() == before


async def test_a_stream_that_says_nothing_leaves_nothing(kernel: Running, world: World) -> None:
    before = await kernel.status()
    for rpc, method in METHODS.items():
        if method.client_streaming:
            await call(kernel, rpc, [])
    assert await kernel.status() == before


def test_messages() -> None:
    """Every request that is refused is a message of its RPC."""
    for rpc, given in cases(NOBODY).items():
        for case in given:
            for request in case.requests:
                assert isinstance(request, Message)
                assert METHODS[rpc].input_type == request.DESCRIPTOR
