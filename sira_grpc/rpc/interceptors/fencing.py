"""The fencing tokens of a call: read from its metadata, and handed to whatever writes for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sira_grpc import fencing
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.access import IDENTITY, rule_of
from sira_grpc.rpc.interceptors.interceptor import Interceptor

KEY = "sira-fencing"
"""Metadata: `namespaces/{namespace}/locks/{lock}={token}`, or an election and its term; several times for several."""
_WRITES = {f"{IDENTITY}IssueCertificate"}
"""What changes something though the rules of access have it as a read, which everybody may call."""


class Fences(Protocol):
    """Makes guards of tokens. Whoever keeps the locks does."""

    def guard(self, values: Sequence[str]) -> fencing.Guard:
        """Returns the guard of a call that came with tokens. Raises InvalidField if they are none."""


class Fencing(Interceptor):
    """Refuses what comes with a token that is known to be stale, and has the rest checked where it is written.

    Calls that only read ignore tokens.

    Attributes:
        fences: makes guards of tokens; None to ignore tokens.
    """

    def __init__(self, fences: Fences | None = None) -> None:
        self.fences = fences
        self._reads: dict[str, bool] = {}

    def enter(self, call: Call) -> None:
        """Makes the tokens of a call that writes its guard. Raises: InvalidField, FencingTokenStale."""
        if self.fences is None:
            return
        values = [value for key, value in call.context.invocation_metadata() or () if key == KEY]
        if not values or self._only_reads(call.method.name):
            return
        guard = self.fences.guard([value if isinstance(value, str) else "" for value in values])
        guard.refuse_stale()
        fencing.enter(guard)

    def _only_reads(self, method: str) -> bool:
        reads = self._reads.get(method)
        if reads is None:
            reads = self._reads[method] = rule_of(method).reads and method not in _WRITES
        return reads
