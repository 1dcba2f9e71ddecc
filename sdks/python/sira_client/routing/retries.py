"""Which failed calls a service's policy has tried again, and after which pause.

Sources: gRFC A6, https://github.com/grpc/proposal/blob/master/A6-client-retries.md, and A44,
https://github.com/grpc/proposal/blob/master/A44-xds-retry.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import grpc
from sira.registry.v1.retry_policy_pb2 import (
    RETRY_ON_CANCELLED,
    RETRY_ON_DEADLINE_EXCEEDED,
    RETRY_ON_INTERNAL,
    RETRY_ON_RESOURCE_EXHAUSTED,
    RETRY_ON_UNAVAILABLE,
    RetryPolicy,
)

from sira_client.durations import seconds

DEFAULT_ATTEMPTS = 2
DEFAULT_BACKOFF = 0.025
PUSHBACK = "grpc-retry-pushback-ms"
"""The trailing metadata by which a server says when to come back, or with anything but a number: not at all."""

WRITTEN_TOO_LATE = "Internal error from Core"
"""How grpc.aio says that a request was written to a call that had ended: it comes in the place of the call's status."""

_JITTER = 0.2
_STATUSES: dict[int, grpc.StatusCode] = {
    RETRY_ON_CANCELLED: grpc.StatusCode.CANCELLED,
    RETRY_ON_DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    RETRY_ON_INTERNAL: grpc.StatusCode.INTERNAL,
    RETRY_ON_RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RETRY_ON_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


class DroppedError(Exception):
    """Marks what a call failed with that is not to be tried again: there is too much under way as it is."""


@dataclass(slots=True)
class Retries:
    """The attempts of one call.

    Attributes:
        left: how often it may still go again.
    """

    left: int
    statuses: frozenset[grpc.StatusCode]
    backoff: float
    longest: float
    random: Random

    @classmethod
    def of(cls, policy: RetryPolicy, random: Random) -> Retries:
        """For one call, by the policy of its route."""
        first = seconds(policy.initial_backoff, DEFAULT_BACKOFF)
        statuses = frozenset(_STATUSES[on] for on in policy.retry_on if on in _STATUSES)
        attempts = policy.max_attempts or DEFAULT_ATTEMPTS
        return cls(attempts - 1, statuses, first, seconds(policy.max_backoff, 10 * first), random)

    def pause(self, error: grpc.aio.AioRpcError) -> float | None:
        """Seconds after which a call that failed goes again; None for never. Counts it as gone."""
        if not self.left or _status(error) not in self.statuses or isinstance(error, DroppedError):
            return None
        asked = _pushback(error)
        if asked is not None and asked < 0:
            return None
        self.left -= 1
        if asked is not None:
            return asked
        pause = min(self.backoff, self.longest) * self.random.uniform(1 - _JITTER, 1 + _JITTER)
        self.backoff *= 2
        return pause


def _status(error: grpc.aio.AioRpcError) -> grpc.StatusCode:
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == WRITTEN_TOO_LATE:
        return grpc.StatusCode.UNAVAILABLE
    return error.code()


def _pushback(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds that the server asks for; below 0 for never; None where it says nothing."""
    trailing: Sequence[tuple[str, str | bytes]] = tuple(error.trailing_metadata() or ())
    asked = next((value for key, value in trailing if key == PUSHBACK), None)
    if asked is None:
        return None
    try:
        return int(asked) / 1000
    except ValueError:
        return -1.0
