"""A span for every call, in the trace that the caller's metadata names."""

from __future__ import annotations

import grpc
from opentelemetry import context as otel
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context

from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.interceptor import Interceptor

_OUR_FAULT = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that make a server's span an error, by OpenTelemetry's conventions for RPC."""


class Trace(Interceptor):
    """Opens a server span and makes it current for the servicer. Costs some ten us: only there where tracing is on."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def enter(self, call: Call) -> None:
        """Opens the span."""
        carrier = {key: value for key, value in call.context.invocation_metadata() or () if isinstance(value, str)}
        parent = extract(carrier)
        span = self._tracer.start_span(
            call.method.name,
            context=parent,
            kind=SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "rpc.method": call.method.name},
        )
        call.trace = span, otel.attach(set_span_in_context(span, parent))

    def exit(self, call: Call) -> None:
        """Closes the span."""
        span, token = call.trace
        otel.detach(token)
        span.set_attribute("rpc.response.status_code", call.code.name)
        span.set_attribute("sira.caller", call.caller)
        if call.code in _OUR_FAULT:
            span.set_status(Status(StatusCode.ERROR, call.code.name))
        span.end()
