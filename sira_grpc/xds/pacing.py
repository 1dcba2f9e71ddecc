"""Pacing: how soon a client is told of the next change, of a kind that needs its time for each.

A channel of gRPC for Node begins to connect anew with every change of its endpoints or policy (@grpc/grpc-js-xds 1.14):
under tens of changes a second it never has a connection to call over.
"""

from __future__ import annotations

import math

from sira_grpc.xds.node import NODE_JS, Node

PACE = 0.25
"""Seconds from one burst of changes to the next, at least."""
STEP = 0.05
"""Seconds: changes of many clients wait for the same moments, which are that far apart."""
_NEVER = float("inf")


class Pacing:
    """Of one stream. Times are monotonic seconds.

    Attributes:
        until: changes wait until then; for ever if none wait.
    """

    __slots__ = ("_told", "until")

    def __init__(self) -> None:
        self._told = False
        self.until = _NEVER

    def waits(self, now: float) -> bool:
        """Whether changes wait."""
        if now >= self.until:
            self.until = _NEVER
        return self.until != _NEVER

    def told(self, node: Node) -> None:
        """Notes that a client was told of a change."""
        self._told = node.kind == NODE_JS

    def rest(self, now: float) -> None:
        """Notes that the client has been told of everything there was."""
        if self._told:
            self._told = False
            self.until = math.ceil((now + PACE) / STEP) * STEP
