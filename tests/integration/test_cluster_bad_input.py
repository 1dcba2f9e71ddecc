"""Bad input to every RPC of ClusterService: the documented reason, and nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import grpc
import pytest
from sira.cluster.v1.cluster_service_pb2 import GetClusterResponse, WatchClusterResponse

from tests.clocks import FakeClock
from tests.integration.raw_calls import (
    LARGE_HEADERS,
    METHODS,
    UNREADABLE,
    call,
    error_of,
    oversized_message,
)
from tests.integration.registry_kernel import Running, reason_of, running

RPCS: Mapping[str, type[GetClusterResponse] | type[WatchClusterResponse]] = {
    "sira.cluster.v1.ClusterService/GetCluster": GetClusterResponse,
    "sira.cluster.v1.ClusterService/WatchCluster": WatchClusterResponse,
}
EVERY_RPC = pytest.mark.parametrize("rpc", RPCS)


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=FakeClock()) as made:
        yield made


def test_no_rpc_is_left_out_and_none_has_a_field_that_could_be_wrong() -> None:
    assert {rpc for rpc in METHODS if rpc.startswith("sira.cluster.v1.ClusterService/")} == RPCS.keys()
    assert not any(METHODS[rpc].input_type.fields for rpc in RPCS)


@EVERY_RPC
async def test_what_cannot_be_read_is_refused(kernel: Running, rpc: str) -> None:
    before = await kernel.status()
    for garbage in UNREADABLE:
        error = await error_of(kernel, rpc, garbage)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert await kernel.status() == before


@EVERY_RPC
async def test_what_is_too_large_is_refused(kernel: Running, rpc: str) -> None:
    before = await kernel.status()
    for request, metadata in ((oversized_message(), ()), (b"", LARGE_HEADERS)):
        error = await error_of(kernel, rpc, request, metadata=metadata)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await kernel.status() == before


@EVERY_RPC
async def test_a_kernel_by_itself_is_a_cluster_of_one(kernel: Running, rpc: str) -> None:
    (answer,) = await call(kernel, rpc, [b"\xfa\x7f\x01x"])  # a field of a newer client is passed over
    cluster = RPCS[rpc].FromString(answer).cluster
    (member,) = cluster.members
    assert member.name == cluster.answered_by == f"members/{(await kernel.status()).member}"
    assert list(member.addresses) == list(kernel.kernel.addresses)
    assert (cluster.store.engine, cluster.store.writable, len(cluster.store.replicas)) == ("sqlite", True, 0)
