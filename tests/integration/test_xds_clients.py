"""What a kernel tells of the clients of xDS that it has, and what they tell it: ClientService, CSDS and LRS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.load_report_pb2 import ClusterStats
from envoy.service.load_stats.v3 import lrs_pb2, lrs_pb2_grpc
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc
from google.protobuf.json_format import ParseDict
from grpc import aio
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import RegisterEndpointsRequest
from sira.xds.v1 import client_service_pb2 as pb
from sira.xds.v1.client_pb2 import ClientKind, ResourceState
from sira.xds.v1.client_service_pb2_grpc import ClientServiceStub

from sira_grpc.cli.bootstrap.client_kind import BootstrapKind, environment
from sira_grpc.cli.bootstrap.document import KernelTrust, NodeClaim, document
from sira_grpc.xds.type_urls import CLUSTER, LISTENER, ROUTES
from tests.integration.raw_calls import fields_of
from tests.integration.registry_kernel import reason_of
from tests.integration.xds_calls import XdsCaller, echo
from tests.integration.xds_client import MODES, PATIENCE, Mode, grpc_node
from tests.integration.xds_kernel import LONG, XdsKernel, address_of, resource_name, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("xds")) as made:
        yield made


def clients(kernel: XdsKernel) -> Any:
    return ClientServiceStub(kernel.channel)


async def explain(kernel: XdsKernel, client: str, service: str = "") -> Any:
    """The one stream of a client, explained."""
    request = pb.ExplainClientRequest(client=client, service=resource_name(service) if service else "")
    (explained,) = (await clients(kernel).ExplainClient(request)).clients
    return explained


async def listed(kernel: XdsKernel, client: str) -> list[Any]:
    return list((await clients(kernel).ListClients(pb.ListClientsRequest(client=client))).clients)


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_is_listed_while_it_is_connected(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    node = f"listed-{mode}"
    async with kernel.client(mode, grpc_node(id_=node)) as client:
        await client.get(LISTENER, name)
        (told,) = await listed(kernel, node)
        assert (told.kind, told.delta) == (ClientKind.CLIENT_KIND_C_CORE, mode == "delta")
        assert (told.resources, told.rejected) == (1, 0)
        assert told.member == (await kernel.status()).member
        assert told.user_agent.startswith("gRPC C-core")
    async with asyncio.timeout(PATIENCE):
        while await listed(kernel, node):
            pass  # each look is a call


async def test_pages_have_every_client_once(kernel: XdsKernel) -> None:
    name = await kernel.service()
    async with (
        kernel.client("sotw", grpc_node(id_="paged")) as one,
        kernel.client("sotw", grpc_node(id_="paged")) as two,
        kernel.client("delta", grpc_node(id_="paged")) as three,
    ):
        for client in (one, two, three):
            await client.get(LISTENER, name)
        request, streams = pb.ListClientsRequest(client="paged", page_size=2), []
        while True:
            page = await clients(kernel).ListClients(request)
            streams += [client.stream for client in page.clients]
            request.page_token = page.next_page_token
            if not request.page_token:
                break
    assert (len(streams), len(set(streams))) == (3, 3)


@pytest.mark.parametrize("mode", MODES)
async def test_a_rejection_is_told_in_the_words_of_the_client(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    node = f"rejecting-{mode}"
    async with kernel.client(mode, grpc_node(id_=node)) as client:
        await client.get(CLUSTER, name)
        await client.get(ROUTES, name)
        await kernel.timeout(name, 5)
        await client.nack(await client.read(), f"{name}: five is no number")
        await client.quiet(ROUTES)
        cluster, routes = (await explain(kernel, node, name)).resources
        assert (cluster.type_url, cluster.state) == (CLUSTER, ResourceState.RESOURCE_STATE_ACKNOWLEDGED)
        assert (routes.type_url, routes.state) == (ROUTES, ResourceState.RESOURCE_STATE_REJECTED)
        assert routes.rejection == f"{name}: five is no number"
        assert '"max_stream_duration"' in routes.current_json
        assert (await listed(kernel, node))[0].rejected == 1
        await kernel.timeout(name, 6)
        await client.told(ROUTES)
        await client.quiet(ROUTES)
        assert (await explain(kernel, node, name)).resources[1].state == ResourceState.RESOURCE_STATE_ACKNOWLEDGED


async def test_what_is_asked_for_and_not_there_is_missing(kernel: XdsKernel) -> None:
    async with kernel.client("delta", grpc_node(id_="asking")) as client:
        await client.get(LISTENER, "nothing.default")
        (resource,) = (await explain(kernel, "asking")).resources
        assert (resource.name, resource.state) == ("nothing.default", ResourceState.RESOURCE_STATE_MISSING)
        assert (resource.sent_version, resource.current_version) == ("", "")


async def test_a_client_that_is_not_there_is_not_found(kernel: XdsKernel) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await explain(kernel, "nobody")
    assert (raised.value.code(), reason_of(raised.value)) == (grpc.StatusCode.NOT_FOUND, "XDS_CLIENT_NOT_FOUND")


def status_stub(kernel: XdsKernel) -> Any:
    return csds_pb2_grpc.ClientStatusDiscoveryServiceStub(kernel.channel)


def asked(node: str, **fields: Any) -> Any:
    """A request for the clients of a node."""
    return ParseDict({"nodeMatchers": [{"nodeId": {"exact": node}}], **fields}, csds_pb2.ClientStatusRequest())


async def test_csds_tells_what_each_client_has(kernel: XdsKernel) -> None:
    name = await kernel.service("e1")
    async with kernel.client("sotw", grpc_node(id_="inspected")) as client:
        await client.get(CLUSTER, name)
        await client.get(ROUTES, name)
        await kernel.timeout(name, 5)
        await client.nack(await client.read(), f"{name} is bad")
        await client.get(LISTENER, name, "nothing.default")
        await client.quiet(ROUTES)
        (config,) = (await status_stub(kernel).FetchClientStatus(asked("inspected"))).config
        assert config.node.id == "inspected"
        told = {(each.type_url, each.name): each for each in config.generic_xds_configs}
        states = ClientResourceStatus
        assert told[CLUSTER, name].client_status == states.ACKED
        assert Cluster.FromString(told[CLUSTER, name].xds_config.value).name == name
        assert told[CLUSTER, name].version_info
        assert (told[ROUTES, name].client_status, told[ROUTES, name].error_state.details) == (
            states.NACKED,
            f"{name} is bad",
        )
        assert told[LISTENER, "nothing.default"].client_status == states.DOES_NOT_EXIST
        request = asked("inspected", excludeResourceContents=True)
        (answer,) = [each async for each in status_stub(kernel).StreamClientStatus(iter([request]))]
        assert not any(each.HasField("xds_config") for each in answer.config[0].generic_xds_configs)


@pytest.mark.parametrize(
    ("matcher", "found"),
    [
        ({"exact": "Matched-1"}, True),
        ({"exact": "matched-1"}, False),
        ({"exact": "matched-1", "ignoreCase": True}, True),
        ({"prefix": "Match"}, True),
        ({"suffix": "-1"}, True),
        ({"contains": "hed"}, True),
        ({"contains": "her"}, False),
    ],
)
async def test_csds_matches_nodes(kernel: XdsKernel, matcher: dict[str, Any], found: bool) -> None:
    async with kernel.client("sotw", grpc_node(id_="Matched-1")) as client:
        await client.get(LISTENER, "nothing.default")
        request = ParseDict({"nodeMatchers": [{"nodeId": matcher}]}, csds_pb2.ClientStatusRequest())
        config = (await status_stub(kernel).FetchClientStatus(request)).config
        assert ("Matched-1" in {each.node.id for each in config}) is found


@pytest.mark.parametrize(
    ("matcher", "field"),
    [
        ({"nodeId": {"safeRegex": {"regex": "a"}}}, "node_matchers[0].node_id"),
        ({}, "node_matchers[0].node_id"),
        ({"nodeId": {"exact": "a"}, "nodeMetadatas": [{}]}, "node_matchers[0].node_metadatas"),
    ],
)
async def test_csds_refuses_what_it_cannot_match(kernel: XdsKernel, matcher: dict[str, Any], field: str) -> None:
    request = ParseDict({"nodeMatchers": [matcher]}, csds_pb2.ClientStatusRequest())
    with pytest.raises(aio.AioRpcError) as raised:
        await status_stub(kernel).FetchClientStatus(request)
    assert (raised.value.code(), fields_of(raised.value)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_csds_refuses_what_no_answer_holds(kernel: XdsKernel) -> None:
    names = [f"s{number}.default|version=" + "x" * 2000 for number in range(500)]
    async with kernel.client("delta", grpc_node(id_="large")) as client:
        await client.get(CLUSTER, *names)
        with pytest.raises(aio.AioRpcError) as raised:
            await status_stub(kernel).FetchClientStatus(asked("large"))
    assert (raised.value.code(), reason_of(raised.value)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")


def reporting(kernel: XdsKernel) -> Any:
    return lrs_pb2_grpc.LoadReportingServiceStub(kernel.channel).StreamLoadStats()


def report(cluster: str, in_flight: int, **fields: Any) -> Any:
    """A report that so many calls are under way at the endpoint e1 of a cluster."""
    stats = {
        "address": {"socketAddress": {"address": address_of("e1"), "portValue": 50051}},
        "totalRequestsInProgress": str(in_flight),
    }
    data = {"clusterName": cluster, "upstreamLocalityStats": [{"upstreamEndpointStats": [stats]}]}
    return lrs_pb2.LoadStatsRequest(cluster_stats=[ParseDict(data, ClusterStats())], **fields)


async def in_flight(kernel: XdsKernel, name: str, expected: int) -> None:
    """Waits until the registry knows how many calls are under way at the endpoint e1."""
    registry = kernel.kernel.registry
    assert registry is not None
    async with asyncio.timeout(PATIENCE):
        while True:
            load = registry.loads.get(f"{resource_name(name)}/endpoints/e1")
            if load is not None and load.in_flight == expected:
                return
            await kernel.status()


async def test_load_reports_reach_the_registry(kernel: XdsKernel) -> None:
    name = await kernel.service("e1", "e2")
    one, two = reporting(kernel), reporting(kernel)
    for stream in (one, two):
        await stream.write(lrs_pb2.LoadStatsRequest(node=grpc_node()))
        terms = await stream.read()
        assert terms.send_all_clusters
        assert terms.report_endpoint_granularity
        assert terms.load_reporting_interval.seconds == 10
    await one.write(report(name, 3))
    await two.write(report(name, 4))
    await in_flight(kernel, name, 7)
    await one.write(report(name, 1))
    await in_flight(kernel, name, 5)
    await two.done_writing()
    assert await two.read() is aio.EOF
    await in_flight(kernel, name, 1)
    one.cancel()
    await in_flight(kernel, name, 0)


async def test_a_load_report_of_nobody_is_refused(kernel: XdsKernel) -> None:
    stream = reporting(kernel)
    await stream.write(lrs_pb2.LoadStatsRequest())
    with pytest.raises(aio.AioRpcError) as raised:
        await stream.read()
    assert (raised.value.code(), fields_of(raised.value)) == (grpc.StatusCode.INVALID_ARGUMENT, ["node"])


async def test_where_no_reports_are_wanted_none_are_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path, load_report_interval=0) as kernel:
        name = await kernel.service("e1")
        stream = reporting(kernel)
        await stream.write(report(name, 3, node=grpc_node()))
        terms = await stream.read()
        assert (terms.send_all_clusters, terms.load_reporting_interval.seconds) == (False, 3600)
        await stream.done_writing()
        assert await stream.read() is aio.EOF
        assert kernel.kernel.registry is not None
        assert len(kernel.kernel.registry.loads) == 0


async def test_a_plain_client_reports_what_it_has_under_way(tmp_path: Path) -> None:
    with echo() as port:
        async with running(tmp_path / "kernel", load_report_interval=1) as kernel:
            await kernel.service(name="echo.default")
            await kernel.registry.RegisterEndpoints(
                RegisterEndpointsRequest(
                    endpoints=[
                        Endpoint(
                            name=f"{resource_name('echo.default')}/endpoints/e1", addresses=["127.0.0.1"], port=port
                        )
                    ],
                    lease_ttl=LONG,
                )
            )
            path = tmp_path / "bootstrap.json"
            claim, trust = NodeClaim("caller", "", "default"), KernelTrust(plaintext=True)
            path.write_text(json.dumps(document(BootstrapKind.C_CORE, [kernel.address], claim, trust)))
            with XdsCaller("xds:///echo", environment(BootstrapKind.C_CORE, str(path))) as caller:
                for _ in range(3):
                    assert await asyncio.to_thread(caller.call, "hold") == "held"
                await in_flight(kernel, "echo.default", 3)
