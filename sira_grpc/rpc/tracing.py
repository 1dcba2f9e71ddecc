"""A span for every call, in the trace that the caller's metadata names: OpenTelemetry's own interceptor for gRPC."""

from __future__ import annotations

from grpc import aio

from sira_grpc.telemetry import Telemetry


def tracing(telemetry: Telemetry) -> list[aio.ServerInterceptor]:
    """Returns the interceptors that trace calls: none where traces are off, as a span costs every call some tens of us.

    Spans carry the call's method and status by OpenTelemetry's conventions for RPC.
    """
    if telemetry.tracer_provider is None:
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor

    made: aio.ServerInterceptor = aio_server_interceptor(  # type: ignore[no-untyped-call]  # it has no annotations
        tracer_provider=telemetry.tracer_provider
    )
    return [made]
