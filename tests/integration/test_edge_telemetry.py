"""Metrics as Prometheus reads them, and metrics and traces as a collector gets them."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest, HoldLeaseResponse
from sira.registry.v1.resolver_service_pb2 import ResolveRequest, ResolveResponse, WatchRequest, WatchResponse

from sira_grpc.config import Secret, TelemetryConfig
from sira_grpc.rpc.call import Context
from tests.integration.edge_server import REGISTRY, RESOLVER, SERVICE, Script, Served, failure, serve

PROMETHEUS = TelemetryConfig(prometheus_address="127.0.0.1:0")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


async def scraped(served: Served) -> dict[str, float]:
    """What Prometheus reads: name and labels, and the value."""

    def get() -> str:
        with urllib.request.urlopen(f"http://{served.telemetry.prometheus_address}/metrics") as answer:
            return str(answer.read(), "utf-8")

    lines = (await asyncio.to_thread(get)).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def value(metrics: dict[str, float], name: str, **labels: str) -> float:
    """The one metric of a name that has the labels."""
    wanted = [f'{key}="{label}"' for key, label in labels.items()]
    (found,) = [v for k, v in metrics.items() if k.partition("{")[0] == name and all(label in k for label in wanted)]
    return found


async def test_calls_latency_and_calls_in_flight_are_counted_by_method() -> None:
    class Lasting(Script):
        async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
            yield WatchResponse()
            await asyncio.Event().wait()

    async with serve(Lasting(), telemetry=PROMETHEUS) as served:
        for _ in range(3):
            await served.resolver.Resolve(ResolveRequest(service=SERVICE))
        await failure(served.resolver.Resolve(ResolveRequest()))
        await failure(served.raw.unary_unary("/made.up/Name")(b""))
        await served.resolver.Watch(WatchRequest(service=SERVICE)).read()
        metrics = await scraped(served)
        resolve, watch = f"{RESOLVER}/Resolve", f"{RESOLVER}/Watch"
        count = "rpc_server_call_duration_seconds_count"
        assert value(metrics, count, rpc_method=resolve, rpc_response_status_code="OK") == 3
        assert value(metrics, count, rpc_method=resolve, rpc_response_status_code="INVALID_ARGUMENT") == 1
        assert value(metrics, count, rpc_method="_OTHER", rpc_response_status_code="UNIMPLEMENTED") == 1
        assert value(metrics, "rpc_server_active_calls", rpc_method=watch) == 1
        assert value(metrics, "rpc_server_active_calls", rpc_method=resolve) == 0
        assert value(metrics, "target_info", service_name="sira", service_version="0") == 1


async def test_calls_that_the_client_gives_up_are_counted_so() -> None:
    ended = asyncio.Event()

    class Lasting(Script):
        async def resolve(self, request: ResolveRequest, context: Context) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                asyncio.get_running_loop().call_soon(ended.set)
            return ResolveResponse()

    async with serve(Lasting(), telemetry=PROMETHEUS) as served:
        await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE), timeout=0.05))
        await ended.wait()
        metrics = await scraped(served)
        labels = {"rpc_method": f"{RESOLVER}/Resolve", "rpc_response_status_code": "DEADLINE_EXCEEDED"}
        assert value(metrics, "rpc_server_call_duration_seconds_count", **labels) == 1


class Collector:
    """An OTLP/HTTP collector that keeps what it gets, by path."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any, str | None]] = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.got.append((self.path, json.loads(body), self.headers["x-key"]))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the base class
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def spans(self) -> list[dict[str, Any]]:
        return [
            span
            for path, body, _ in self.got
            if path == "/v1/traces"
            for resource in body["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def status_code(span: dict[str, Any]) -> int:
    (value,) = [a["value"] for a in span["attributes"] if a["key"] == "rpc.grpc.status_code"]
    return int(value["intValue"])


async def test_a_call_is_a_span_in_the_trace_of_its_caller(collector: Collector) -> None:
    class Tracing(Script):
        seen = 0

        async def resolve(self, request: ResolveRequest, context: Context) -> Any:
            self.seen = trace.get_current_span().get_span_context().trace_id
            if request.limit:
                raise RuntimeError
            return ResolveResponse()

    script = Tracing()
    config = TelemetryConfig(
        otlp_endpoint=collector.url, otlp_headers={"x-key": Secret("s3cret")}, trace_sample_ratio=0, service_name="k1"
    )
    async with serve(script, telemetry=config) as served:
        metadata = (("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"), ("x-bin", b"\xff"))
        await served.resolver.Resolve(ResolveRequest(service=SERVICE), metadata=metadata)
        await failure(served.resolver.Resolve(ResolveRequest(service=SERVICE, limit=1), metadata=metadata))
        assert f"{script.seen:032x}" == TRACE_ID
        await served.resolver.Resolve(ResolveRequest(service=SERVICE))
    # The caller's decision counts, and of the others the ratio, 0, are traced.
    ok, failed = collector.spans()
    assert ok["name"] == failed["name"] == f"/{RESOLVER}/Resolve"
    assert ok["traceId"] == TRACE_ID
    assert status_code(ok) == grpc.StatusCode.OK.value[0]
    assert status_code(failed) == grpc.StatusCode.INTERNAL.value[0]
    assert failed["status"]["code"] == 2
    assert "status" not in ok or not ok["status"].get("code")
    paths = {path for path, _, _ in collector.got}
    assert paths == {"/v1/traces", "/v1/metrics"}
    assert {key for _, _, key in collector.got} == {"s3cret"}


async def test_a_traced_stream_is_served_and_drained_like_any_other(collector: Collector) -> None:
    metadata = (("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"),)
    config = TelemetryConfig(otlp_endpoint=collector.url, trace_sample_ratio=0)

    class Endless(Script):
        async def watch(self, request: WatchRequest, context: Context) -> AsyncIterator[Any]:
            yield WatchResponse(revision=7).SerializeToString()
            await asyncio.Event().wait()

    async with serve(Endless(), telemetry=config) as served:
        echo = served.registry.HoldLease(metadata=metadata)
        await echo.write(HoldLeaseRequest(lease_key="a"))
        answer = await echo.read()
        assert isinstance(answer, HoldLeaseResponse)
        assert answer.lease_key == "a"
        await echo.done_writing()
        assert await echo.code() == grpc.StatusCode.OK
        stream = served.resolver.Watch(WatchRequest(service=SERVICE), metadata=metadata)
        first = await stream.read()
        assert isinstance(first, WatchResponse)
        assert first.revision == 7
        await served.server.drain()
        assert await stream.code() == grpc.StatusCode.UNAVAILABLE
    held, watched = collector.spans()
    assert (held["name"], status_code(held)) == (f"/{REGISTRY}/HoldLease", 0)
    assert (watched["name"], status_code(watched)) == (f"/{RESOLVER}/Watch", grpc.StatusCode.UNAVAILABLE.value[0])
