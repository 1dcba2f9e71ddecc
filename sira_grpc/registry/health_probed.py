"""What is kept of one endpoint while it is probed: its check, its settled state, and what is under way."""

from __future__ import annotations

import asyncio
from random import Random

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.registry.health_thresholds import Thresholds
from sira_grpc.registry.probe_api import ProbeResult
from sira_grpc.times import seconds

DEFAULT_INTERVAL = 10.0
"""Seconds between probes where the check does not say."""
DEFAULT_JITTER = 0.1
"""Share of the interval where the check does not say."""
VERIFY_EVERY = 6
"""A followed endpoint is probed at every so many intervals, so that a host that fell silent is found out."""
VERIFY_WITHIN = 60.0
"""Seconds after which it is probed in any case, unless its interval is longer."""


class ProbedEndpoint:
    """One endpoint that is probed. Only ProbedChecks writes to it."""

    __slots__ = (
        "_messages_before",
        "_probes",
        "_started",
        "_written",
        "follow_after",
        "interval",
        "jitter",
        "messages",
        "name",
        "probe",
        "stream",
        "thresholds",
        "urgent",
        "urgent_probe",
    )

    def __init__(self, endpoint: Endpoint, state: HealthState.ValueType) -> None:
        check = endpoint.health_check
        self.name = endpoint.name
        self._written = endpoint.SerializeToString()
        self.thresholds = Thresholds.of(check, state)
        self.interval = seconds(check.interval) if check.HasField("interval") else DEFAULT_INTERVAL
        self.jitter = check.jitter if check.HasField("jitter") else DEFAULT_JITTER
        self.probe: asyncio.Task[ProbeResult] | None = None
        self.stream: asyncio.Task[None] | None = None
        self.messages = 0
        """Messages of its streams so far."""
        self.follow_after = float("-inf")
        """When a stream may be opened again, on the monotonic clock."""
        self.urgent = False
        """Somebody wants to know now, and no probe has begun since."""
        self.urgent_probe = False
        """Somebody wanted to know before the probe under way began."""
        self._messages_before = 0
        self._probes = 0
        self._started = 0.0

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, made anew: a message takes 1.6 KB, its bytes a tenth, and there are many."""
        return Endpoint.FromString(self._written)

    def begin(self, now: float) -> None:
        """Notes that a probe begins."""
        self._started = now
        self._probes += 1
        self._messages_before = self.messages
        self.urgent_probe, self.urgent = self.urgent, False

    def is_outdated(self, result: ProbeResult) -> bool:
        """Says whether the stream has spoken since the probe began: what the server says there is newer."""
        return result.authoritative and self.messages != self._messages_before

    def next_probe(self, random: Random) -> float:
        """Returns when to probe again, counted from the beginning of the last probe.

        The second probe is at any point of the interval: endpoints that came all at once are spread evenly by it.
        """
        share = random.random() if self._probes == 1 else 1 + self.jitter * random.uniform(-1, 1)
        interval = self.interval
        if self.stream is not None:
            interval = min(VERIFY_EVERY * interval, max(interval, VERIFY_WITHIN))
        return self._started + share * interval
