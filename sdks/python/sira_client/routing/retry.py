"""When a call that failed may go again by another route."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import grpc

_NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed", "empty address list")
"""How gRPC begins the details of a call that never had a connection to be sent on."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a unary call that failed with UNAVAILABLE goes again to another endpoint, within its deadline.

    A call that was never sent always goes again: nobody has seen it. One that may have been seen goes again only
    if that does no harm, which only its author can say.

    Attributes:
        max_attempts: how often a call may be sent, the first time included. Default 3.
        idempotent: whether calls do no harm when they are served twice: all of them, none, or those to these methods
            (`/package.Service/Method`). Default none.
    """

    max_attempts: int = 3
    idempotent: bool | Collection[str] = False

    def __post_init__(self) -> None:
        """Refuses what makes no sense.

        Raises:
            ValueError: max_attempts is below 1.
        """
        if self.max_attempts < 1:
            raise ValueError("max_attempts: must be 1 at least")

    def pause(self, error: grpc.aio.AioRpcError) -> float | None:
        """Seconds after which a call goes again that was refused without any of it having been done; None for never.

        Here: never, as only who knows a server's errors can tell.
        """
        return None

    def may_replay(self, method: str) -> bool:
        """Whether a call to the method does no harm when it is served twice."""
        return self.idempotent if isinstance(self.idempotent, bool) else method in self.idempotent


def never_sent(error: grpc.aio.AioRpcError) -> bool:
    """Whether a failed call certainly reached no server: there was no connection to send it on."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and (error.details() or "").startswith(_NEVER_SENT)
