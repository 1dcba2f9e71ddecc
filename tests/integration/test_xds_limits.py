"""What a kernel does not take from who writes policies, and from clients: no other client has to suffer from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from grpc import aio
from sira.registry.v1.route_pb2 import Destination, HeaderMatch, Route, RouteMatch, Split
from sira.xds.v1 import client_service_pb2 as pb
from sira.xds.v1.client_service_pb2_grpc import ClientServiceStub

from sira_grpc.rpc.xds.csds_servicer import MAX_MATCHERS
from sira_grpc.xds.node import MAX_INBOUND, MAX_UPSTREAMS
from sira_grpc.xds.type_urls import LISTENER, ROUTES
from tests.integration.xds_client import MODES, Mode, envoy_node, grpc_node
from tests.integration.xds_kernel import XdsKernel, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG_NAME = [Route(splits=[Split(weight=1, destination=Destination(metadata={"a": "x" * 1024, "b": "y" * 1024}))])]
INVERTED = [HeaderMatch(name=f"h{number}", exact="v", invert=True) for number in range(4)]
TOO_MANY = [Route(matches=[RouteMatch(headers=INVERTED) for _ in range(32)]) for _ in range(8)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("xds")) as made:
        yield made


@pytest.mark.parametrize(
    ("routes", "field"), [(LONG_NAME, "routes[0].splits[0].destination.metadata"), (TOO_MANY, "routes")]
)
async def test_a_policy_that_amounts_to_too_much_is_refused_and_changes_nothing(
    kernel: XdsKernel, routes: list[Route], field: str
) -> None:
    name = await kernel.service("e1")
    async with kernel.client("sotw") as client:
        await client.get(ROUTES, name)
        with pytest.raises(aio.AioRpcError) as refused:
            await kernel.policy(name, routes=routes)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"service.traffic_policy.{field}: " in str(refused.value.details())
        await kernel.timeout(name, 5)
        (told,) = (await client.told(ROUTES)).resources.values()
        assert len(told.virtual_hosts[0].routes) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("node", "field"),
    [
        (envoy_node(ports=[(port, port) for port in range(1, MAX_INBOUND + 2)]), "inbound"),
        (envoy_node(*(f"s{number}.default" for number in range(MAX_UPSTREAMS + 1))), "upstreams"),
    ],
)
async def test_a_node_that_says_too_much(kernel: XdsKernel, mode: Mode, node: Any, field: str) -> None:
    async with kernel.client(mode, node) as client:
        await client.subscribe(LISTENER)
        ended = await client.ended()
        assert ended is not None
        assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"node.metadata.sira.{field}: " in str(ended.details())


async def test_a_node_with_an_odd_cluster_is_in_nobodys_way(kernel: XdsKernel) -> None:
    name = await kernel.service()
    odd = grpc_node(id_="odd")
    odd.cluster = "a/b.c"
    async with kernel.client("sotw", odd) as client, kernel.client("sotw", grpc_node(id_="even")) as other:
        for each in (client, other):
            await each.get(LISTENER, name)
        listed = await ClientServiceStub(kernel.channel).ListClients(pb.ListClientsRequest(client="even"))
        assert [each.node for each in listed.clients] == ["even"]


async def test_the_matchers_of_nodes_are_bounded(kernel: XdsKernel) -> None:
    stub = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(kernel.channel)
    matchers = [NodeMatcher(node_id=StringMatcher(exact="nobody"))] * MAX_MATCHERS
    answer = await stub.FetchClientStatus(csds_pb2.ClientStatusRequest(node_matchers=matchers))
    assert not answer.config
    with pytest.raises(aio.AioRpcError) as refused:
        await stub.FetchClientStatus(csds_pb2.ClientStatusRequest(node_matchers=[*matchers, matchers[0]]))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"node_matchers: has at most {MAX_MATCHERS}" in str(refused.value.details())
