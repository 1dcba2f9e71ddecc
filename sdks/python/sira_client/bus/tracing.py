"""The trace that a record is published in, where the program traces with OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable

from sira.bus.v1.record_pb2 import TraceContext

_LONGEST_STATE = 512
"""A longer tracestate is left out, which W3C Trace Context allows."""


def _find() -> Callable[[], TraceContext | None]:
    """What tells the current trace context; where OpenTelemetry is not installed, that there is none."""
    try:
        from opentelemetry.trace import get_current_span
    except ImportError:
        return lambda: None

    def current() -> TraceContext | None:
        context = get_current_span().get_span_context()
        if not context.is_valid:
            return None
        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        state = context.trace_state.to_header()
        return TraceContext(traceparent=parent, tracestate=state if len(state) <= _LONGEST_STATE else "")

    return current


current_trace_context = _find()
"""Returns the W3C trace context of the current span; None without one."""
