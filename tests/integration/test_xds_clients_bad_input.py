"""Bad input to the RPCs that tell of clients of xDS: the documented reason, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from google.protobuf.message import Message
from sira.xds.v1 import client_service_pb2 as pb
from sira.xds.v1.client_service_pb2_grpc import ClientServiceStub

from sira_grpc.xds.type_urls import LISTENER
from tests.integration.garbage_bench import Bench, try_garbage
from tests.integration.raw_calls import (
    LARGE_HEADERS,
    UNREADABLE,
    call,
    check,
    check_messages,
    error_of,
    of_packages,
    oversized_message,
)
from tests.integration.registry_kernel import SERVICE, Running, reason_of, running
from tests.integration.registry_world import Case, Code, broken, missing, refused
from tests.integration.xds_client import grpc_node

RPCS = of_packages("sira.xds.v1")
EVERY_RPC = pytest.mark.parametrize("rpc", RPCS)
CLIENT = "a-client"
LIST, EXPLAIN = (f"sira.xds.v1.ClientService/{name}" for name in ("ListClients", "ExplainClient"))


async def prepare(kernel: Running) -> str:
    """Has two clients, and returns the token of the page of the second. They stay as long as the kernel."""
    for _ in range(2):
        stub: Any = AggregatedDiscoveryServiceStub(kernel.channel)
        stream = stub.StreamAggregatedResources()
        request = DiscoveryRequest(type_url=LISTENER, resource_names=["web"], node=grpc_node(id_=CLIENT))
        await stream.write(request)
        await stream.read()
        HELD.append(stream)
    clients: Any = ClientServiceStub(kernel.channel)
    page = await clients.ListClients(pb.ListClientsRequest(page_size=1))
    return str(page.next_page_token)


HELD: list[Any] = []
"""A call that nobody holds is cancelled."""


def cases(page_token: str) -> Mapping[str, list[Case]]:
    """What must be refused, by the full name of the RPC."""
    return {
        LIST: [
            broken("page_token", pb.ListClientsRequest(page_token="x" * 1025)),
            broken("client", pb.ListClientsRequest(client="x" * 2049)),
            *(
                refused(
                    Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", pb.ListClientsRequest(page_token=token, client=CLIENT)
                )
                for token in ("abc", page_token)
            ),
        ],
        EXPLAIN: [
            broken("client", pb.ExplainClientRequest()),
            broken("client", pb.ExplainClientRequest(client="x" * 2049)),
            *(
                broken("service", pb.ExplainClientRequest(client=CLIENT, service=name))
                for name in ("x", "namespaces/default", "namespaces/default/services/", f"{SERVICE}/endpoints/a")
            ),
            missing("XDS_CLIENT", pb.ExplainClientRequest(client="nobody")),
        ],
    }


def accepted() -> Mapping[str, Message]:
    """What is taken."""
    return {
        LIST: pb.ListClientsRequest(client=CLIENT, page_size=1),
        EXPLAIN: pb.ExplainClientRequest(client=CLIENT, service=SERVICE),
    }


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as made:
        yield made
        HELD.clear()


def test_every_rpc_has_its_cases() -> None:
    assert cases("").keys() == RPCS.keys() == accepted().keys()
    check_messages(cases(""))


@EVERY_RPC
async def test_what_is_wrong_is_refused(kernel: Running, rpc: str) -> None:
    for case in cases(await prepare(kernel))[rpc]:
        await check(kernel, rpc, case)
    assert await call(kernel, rpc, [accepted()[rpc].SerializeToString()])


@EVERY_RPC
async def test_what_is_no_message_or_too_large_is_refused(kernel: Running, rpc: str) -> None:
    for garbage in UNREADABLE:
        error = await error_of(kernel, rpc, garbage)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    for request, metadata in ((oversized_message(), ()), (b"", LARGE_HEADERS)):
        error = await error_of(kernel, rpc, request, metadata=metadata)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def still(path: Path) -> AbstractAsyncContextManager[Running]:
    return running(path)


async def image(kernel: Running) -> object:
    """Who is connected."""
    xds = kernel.kernel.xds
    assert xds is not None
    return [stream.id for stream in xds.streams.streams]


@EVERY_RPC
def test_garbage(rpc: str) -> None:
    with Bench[str](still, prepare, image) as bench:
        try_garbage(bench, rpc, accepted()[rpc], [CLIENT, SERVICE, bench.world])
    HELD.clear()
