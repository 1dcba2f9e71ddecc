"""Calls to any RPC of ours, with messages as they are on the wire, and what those tell that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc import aio
from sira.bus.v1 import dead_letter_service_pb2, publish_service_pb2, subscription_service_pb2, topic_service_pb2
from sira.cluster.v1 import cluster_service_pb2, election_service_pb2, lock_service_pb2
from sira.identity.v1 import authority_service_pb2, identity_service_pb2
from sira.kernel.v1 import kernel_service_pb2
from sira.registry.v1 import registry_service_pb2, resolver_service_pb2
from sira.xds.v1 import client_service_pb2

from tests.integration.registry_kernel import DETAILS, Running, reason_of
from tests.integration.registry_world import Case

PATIENCE = 20
_SERVICES = [
    registry_service_pb2.DESCRIPTOR.services_by_name["RegistryService"],
    resolver_service_pb2.DESCRIPTOR.services_by_name["ResolverService"],
    kernel_service_pb2.DESCRIPTOR.services_by_name["KernelService"],
    cluster_service_pb2.DESCRIPTOR.services_by_name["ClusterService"],
    lock_service_pb2.DESCRIPTOR.services_by_name["LockService"],
    election_service_pb2.DESCRIPTOR.services_by_name["ElectionService"],
    identity_service_pb2.DESCRIPTOR.services_by_name["IdentityService"],
    authority_service_pb2.DESCRIPTOR.services_by_name["AuthorityService"],
    topic_service_pb2.DESCRIPTOR.services_by_name["TopicService"],
    publish_service_pb2.DESCRIPTOR.services_by_name["PublishService"],
    subscription_service_pb2.DESCRIPTOR.services_by_name["SubscriptionService"],
    dead_letter_service_pb2.DESCRIPTOR.services_by_name["DeadLetterService"],
    client_service_pb2.DESCRIPTOR.services_by_name["ClientService"],
]
METHODS: Mapping[str, MethodDescriptor] = {
    f"{service.full_name}/{method.name}": method for service in _SERVICES for method in service.methods
}
"""Every RPC of ours, by its full name."""
_ENDLESS = {"Observe", "Watch", "WatchCluster", "WatchTrustBundles"}
"""Streams that go on until their client has had enough."""
LARGE_HEADERS = [("x-large", "x" * (1 << 15))]


def of_packages(*packages: str) -> dict[str, MethodDescriptor]:
    """The RPCs of some packages."""
    return {rpc: method for rpc, method in METHODS.items() if rpc.rpartition(".")[0] in packages}


async def call(
    kernel: Running, rpc: str, requests: Sequence[bytes], *, metadata: Sequence[tuple[str, str]] = ()
) -> list[bytes]:
    """Makes a call and returns the responses that came; of an endless stream, the first."""
    stream, method = start(kernel, rpc, requests[0] if requests else b"", metadata=metadata), METHODS[rpc]
    await _send(stream, method, requests)
    if method.name in _ENDLESS:
        first = await stream.read()
        stream.cancel()
        return [first]
    return [response async for response in stream] if method.server_streaming else [await stream]


def start(kernel: Running, rpc: str, request: bytes, *, metadata: Sequence[tuple[str, str]] = ()) -> Any:
    """Starts a call; where the client streams, the request is not sent."""
    method = METHODS[rpc]
    sides = ["stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming)]
    make: Any = getattr(kernel.channel, "_".join(sides))(f"/{rpc}")
    options = {"metadata": aio.Metadata(*metadata)}
    return make(**options) if method.client_streaming else make(request, **options)


async def _send(stream: Any, method: MethodDescriptor, requests: Sequence[bytes]) -> None:
    if method.client_streaming:
        for request in requests:
            await stream.write(request)
        await stream.done_writing()


async def error_of(
    kernel: Running, rpc: str, *requests: bytes, metadata: Sequence[tuple[str, str]] = ()
) -> aio.AioRpcError:
    """Makes a call that must be refused, sooner or later."""
    stream, method = start(kernel, rpc, requests[0] if requests else b"", metadata=metadata), METHODS[rpc]
    try:
        async with asyncio.timeout(PATIENCE):
            await _send(stream, method, requests)
            if method.server_streaming:
                async for _ in stream:
                    pass
            else:
                await stream
    except aio.AioRpcError as error:
        return error
    except TimeoutError:
        pass
    raise AssertionError("was not refused")


def fields_of(error: aio.AioRpcError) -> list[str]:
    """The fields that an error names."""
    bad = BadRequest()
    for detail in Status.FromString(dict(error.trailing_metadata() or ())[DETAILS]).details:
        detail.Unpack(bad)
    return [violation.field for violation in bad.field_violations]


async def check(kernel: Running, rpc: str, case: Case) -> None:
    """Makes sure that a case is refused as it says, and has changed nothing."""
    before = (await kernel.standing()).revision
    error = await error_of(kernel, rpc, *(request.SerializeToString() for request in case.requests))
    told = f"{case.requests}\n{error.code()} {reason_of(error)}: {error.details()}"
    assert (error.code(), reason_of(error)) == (case.code, case.reason), told
    assert error.details(), told
    if case.reason == "INVALID_FIELD" and case.field:
        assert any(field.startswith(case.field) for field in fields_of(error)), told
    assert (await kernel.standing()).revision == before, told


def check_messages(cases: Mapping[str, Sequence[Case]]) -> None:
    """Makes sure that every request that is to be refused is a message of its RPC."""
    for rpc, given in cases.items():
        for case in given:
            for request in case.requests:
                assert isinstance(request, Message)
                assert METHODS[rpc].input_type == request.DESCRIPTOR


UNREADABLE = (b"\xff", b"\x0a\x05ab", b"\x07")
"""What is no message of any type."""


def oversized_message(size: int = 10 << 20) -> bytes:
    """A message with one field that nobody knows, larger than a kernel takes."""
    return b"\xfa\x7f" + _varint(size) + bytes(size)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
