"""Requests with anything in them: taken, or refused with an error that says why, and the kernel goes on serving."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.json_format import ParseDict
from google.rpc.status_pb2 import Status
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sira_grpc.xds.names import xdstp
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from tests.integration.garbage_bench import EXAMPLES, WRITTEN_TOO_LATE, Bench
from tests.integration.registry_kernel import Running, reason_of
from tests.integration.xds_client import MODES, Mode, envoy_node, grpc_node, opened
from tests.integration.xds_kernel import XdsKernel, running, split

WEB = "web.default"
TYPES = (LISTENER, ROUTES, CLUSTER, ENDPOINTS, SECRET)
type_urls = st.one_of(st.sampled_from(TYPES), st.sampled_from(["", "x", "type.googleapis.com/google.protobuf.Any"]))
names = st.one_of(
    st.sampled_from(
        [
            *(
                WEB,
                "web",
                "*",
                "",
                "egress",
                "inbound:80",
                "trust",
                f"{WEB}|version=v1",
                f"{WEB}|version=v1|version=v1",
            ),
            *(xdstp(WEB, type_url) for type_url in TYPES),
            *("web.default.", ".default", "|", f"{WEB}|=", f"{WEB}|%ff=%", "xdstp://sira//", "x" * 5000, "\0"),
            "grpc/server?xds.resource.listening_address=0.0.0.0:80",
        ]
    ),
    st.text(max_size=10),
)
metadata = st.dictionaries(
    st.sampled_from(["sira", "namespace", "x"]),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=4)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["namespace", "inbound", "upstreams", "egress_port", "port"]), inner),
        ),
        max_leaves=6,
    ),
)


@st.composite
def nodes(draw: st.DrawFn) -> Any:
    node = draw(st.sampled_from([None, Node(), grpc_node(), envoy_node(), envoy_node(WEB, ports=[(80, 81)])]))
    if node is not None and draw(st.booleans()):
        node = Node(id=draw(st.text(max_size=4)), user_agent_name=draw(st.sampled_from(["envoy", "gRPC Go", "", "x"])))
        node.cluster = draw(st.sampled_from(["", WEB, ".", "a.b.c"]))
        ParseDict(draw(metadata), node.metadata)
    return node


@st.composite
def requests(draw: st.DrawFn, mode: Mode) -> dict[str, Any]:
    """The fields of a request."""
    listed = st.lists(names, max_size=4)
    fields: dict[str, Any] = {"type_url": draw(type_urls), "response_nonce": draw(st.sampled_from(["", "1", "x", "é"]))}
    if draw(st.integers(0, 3)) == 0:
        fields["error_detail"] = Status(code=draw(st.integers(-1, 20)), message=draw(st.text(max_size=4)))
    if mode == "sotw":
        return {**fields, "resource_names": draw(listed), "version_info": draw(st.sampled_from(["", "1"]))}
    return {
        **fields,
        "resource_names_subscribe": draw(listed),
        "resource_names_unsubscribe": draw(listed),
        "initial_resource_versions": draw(st.dictionaries(names, st.sampled_from(["", "1"]), max_size=3)),
    }


async def prepare(kernel: Running) -> str:
    assert isinstance(kernel, XdsKernel)
    await kernel.service("e1", name=WEB)
    await kernel.policy(WEB, routes=split(v1=1, v2=1))
    return WEB


async def image(kernel: Running) -> object:
    return (await kernel.status()).registry


async def converse(kernel: Running, mode: Mode, node: Any, type_url: str | None, sent: list[dict[str, Any]]) -> None:
    """Sends requests and reads whatever comes, which must be well formed, until the stream ends as it may."""
    refused: aio.AioRpcError | None = None
    async with opened(kernel.channel, mode, node or Node(), type_url=type_url) as client:
        try:
            for fields in sent:
                await client.send(**fields)
            await client.stream.done_writing()
            while await client.next() is not None:
                pass
        except aio.AioRpcError as error:
            refused = error
    if refused is not None and refused.details() != WRITTEN_TOO_LATE:
        assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT, refused
        assert reason_of(refused) == "INVALID_FIELD"


@pytest.mark.parametrize("mode", MODES)
def test_garbage(mode: Mode) -> None:
    with Bench(running, prepare, image) as bench:
        before = bench.run(image(bench.kernel))

        @settings(max_examples=EXAMPLES * 4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(nodes(), st.sampled_from([None, *TYPES]), st.lists(requests(mode), max_size=5))
        def garbage(node: Any, type_url: str | None, sent: list[dict[str, Any]]) -> None:
            bench.run(converse(bench.kernel, mode, node, type_url, sent))
            assert not bench.kernel.kernel.failed

        garbage()
        assert bench.run(image(bench.kernel)) == before
