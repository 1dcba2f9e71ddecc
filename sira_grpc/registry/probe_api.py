"""The Prober protocol: how the registry has an endpoint asked for its health, whatever the way of asking."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthCheck, HealthState

from sira_grpc.times import seconds

DEFAULT_TIMEOUT = 2.0
"""Seconds a probe may take where the check does not say."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe, one message of a followed stream or one TTL report said.

    state: SERVING, NOT_SERVING or UNKNOWN; STARTING from a TTL report only.
    cause: why, short and for people.
    authoritative: the server itself said so, hence thresholds are skipped. An UNKNOWN that is not authoritative is no
        evidence (the kernel itself could not probe) and changes nothing but STARTING.
    """

    state: HealthState.ValueType
    cause: str
    authoritative: bool = False


class Prober(Protocol):
    """Asks endpoints for their health, in the way that each one's check says, at its first address."""

    async def probe(self, endpoint: Endpoint) -> ProbeResult:
        """Asks once, within the check's timeout. Raises nothing but CancelledError."""

    def follow(self, endpoint: Endpoint) -> AsyncGenerator[ProbeResult, None] | None:
        """Returns a stream of what the endpoint says of itself, the state of now first; None where there is none.

        The stream ends, without an error, when the connection is lost or the endpoint ends it; the caller then probes.
        It does not find out that a silent peer is dead: the caller probes now and then all the same.
        """

    def release(self, endpoint: Endpoint) -> None:
        """Lets go of what is kept for an endpoint, such as a connection. Call it after cancelling its probes."""

    async def close(self) -> None:
        """Lets go of everything. Idempotent. Nothing may be probed after it."""


def probe_timeout(check: HealthCheck) -> float:
    """Returns the seconds that a probe may take."""
    return seconds(check.timeout) if check.HasField("timeout") else DEFAULT_TIMEOUT
