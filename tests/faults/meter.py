"""What clients of a world met with: successes, errors by code, and how long nothing went well."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import grpc
from sira_client.errors import from_rpc_error

from tests.integration.bus_ledger import Findings

EXPECTED = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""Codes that a client must expect while things break."""
REASONS = frozenset({"LOCK_HELD", "LOCK_LOST", "FENCING_TOKEN_STALE"})
"""Answers that are no errors to who asks for locks that others have."""
CORE = "Internal error from Core"
"""What a write to a call says that has ended."""


class Meter:
    """Counts.

    Args:
        findings: takes what must not be.
        monotonic: seconds.

    Attributes:
        successes: by kind of operation.
        errors: by kind, code and reason.
        longest: seconds between two successes of a kind, at most.
    """

    def __init__(self, findings: Findings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.findings = findings
        self.monotonic = monotonic
        self.successes: Counter[str] = Counter()
        self.errors: Counter[tuple[str, str, str]] = Counter()
        self.longest: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def succeeded(self, kind: str) -> None:
        """Notes that an operation went well, just now."""
        now = self.monotonic()
        self.successes[kind] += 1
        self.longest[kind] = max(self.longest.get(kind, 0.0), now - self._last.get(kind, now))
        self._last[kind] = now

    def failed(self, kind: str, error: grpc.aio.AioRpcError) -> str:
        """Notes that one failed, and returns the reason. A code that nobody expects is a violation."""
        known = from_rpc_error(error)
        if known.message == CORE:
            self.errors[kind, "ENDED", ""] += 1
            return ""
        self.errors[kind, known.status.name, known.reason] += 1
        if known.status not in EXPECTED and known.reason not in REASONS:
            self.findings.violation("unexpected error", f"{kind}: {known}")
        return known.reason
