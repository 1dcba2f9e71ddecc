"""The metadata of a request that goes along when it is forwarded."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry import propagate, trace

Metadata = tuple[tuple[str, str | bytes], ...]

TRACE = frozenset({"traceparent", "tracestate", "baggage"})
CARRIED = TRACE | {"sira-fencing"}
"""What the owner reads. Credentials do not go along: the member's signature stands for them."""


def carried(metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """Returns what goes along of a request's metadata; where calls are traced, the span of this one as the parent."""
    if not trace.get_current_span().get_span_context().is_valid:
        return tuple((key, value) for key, value in metadata if key in CARRIED)
    spans: dict[str, str] = {}
    propagate.inject(spans)
    return (*((key, value) for key, value in metadata if key in CARRIED - TRACE), *spans.items())
