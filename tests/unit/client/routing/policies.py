"""What a channel's policy has in mind, as a test says it."""

from __future__ import annotations

from random import Random

from sira.registry.v1.retry_policy_pb2 import RETRY_ON_UNAVAILABLE, RetryPolicy
from sira_client.routing import CallConfig, CallInfo, Router
from sira_client.routing.faults import Fault
from sira_client.routing.retries import Retries


class Policy:
    """Gives each call the same config. `released` counts those that need no more routes, `slept` is how they waited."""

    plain = False

    def __init__(
        self,
        router: Router,
        *,
        retry: RetryPolicy | None = None,
        fault: Fault | None = None,
        timeout: float | None = None,
    ) -> None:
        self._router = router
        self._retry = retry
        self._fault = fault
        self._timeout = timeout
        self.asked = 0
        self.released = 0
        self.slept: list[float] = []

    async def config(self, info: CallInfo) -> CallConfig | None:
        self.asked += 1
        retries = None if self._retry is None else Retries.of(self._retry, Random(1))
        return CallConfig(
            self._router, self._release, self._sleep, timeout=self._timeout, fault=self._fault, retries=retries
        )

    def _release(self) -> None:
        self.released += 1

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def retrying(router: Router, attempts: int = 3) -> Policy:
    """A policy that tries calls again that failed with UNAVAILABLE."""
    return Policy(router, retry=RetryPolicy(max_attempts=attempts, retry_on=[RETRY_ON_UNAVAILABLE]))
