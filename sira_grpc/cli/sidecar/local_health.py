"""Asks the service on loopback how it is, and has the registry know."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc

from sira_grpc.cli.output import say

if TYPE_CHECKING:
    from sira.registry.v1.health_check_pb2 import HealthCheck
    from sira_client import Registration

    from sira_grpc.registry.probe_api import ProbeResult

HURRY_SECONDS = 0.25
"""How soon to ask again for as long as it does not serve, or after it failed once."""
TTL_INTERVALS, LEAST_TTL_SECONDS = 3, 15.0
"""For how many intervals a report counts, and for how long at least: as long as a lease without its holder. A kernel
that was away meanwhile must not find everybody silent when it comes back."""
LOOPBACK = "127.0.0.1"


class LocalHealth:
    """Asks and reports.

    Args:
        check: how to ask: grpc, http or tcp.
        port: of the service.
        interval: seconds between two questions while it serves.
    """

    def __init__(self, check: HealthCheck, port: int, interval: float) -> None:
        self._check = check
        self._port = port
        self._interval = interval
        self._serves = False
        self._told = ""

    @property
    def ttl(self) -> HealthCheck:
        """The check of the endpoint, as it is registered: until the first report, nobody is sent there."""
        from sira.registry.v1.health_check_pb2 import HealthCheck, TtlCheck

        made = HealthCheck(ttl=TtlCheck())
        made.ttl.ttl.FromTimedelta(timedelta(seconds=max(LEAST_TTL_SECONDS, TTL_INTERVALS * self._interval)))
        return made

    async def run(self, registration: Registration) -> None:
        """Asks and reports, for ever.

        Raises:
            SiraError: the registration was lost for good.
        """
        from sira.registry.v1.endpoint_pb2 import Endpoint

        from sira_grpc.probes import make_prober

        endpoint = Endpoint(name=registration.name, addresses=[LOOPBACK], port=self._port, health_check=self._check)
        prober, failures = make_prober(), 0
        try:
            while True:
                result = await prober.probe(endpoint)
                failures = 0 if _serving(result) else failures + 1
                # Once is no evidence: a busy service may be slow to answer.
                if failures != 1 or not self._serves:
                    await self._report(registration, result)
                await asyncio.sleep(self._interval if failures == 0 else min(HURRY_SECONDS, self._interval))
        finally:
            prober.release(endpoint)
            await prober.close()

    async def _report(self, registration: Registration, result: ProbeResult) -> None:
        from sira.registry.v1.health_check_pb2 import HealthState

        self._serves = _serving(result)
        state = HealthState.HEALTH_STATE_SERVING if self._serves else HealthState.HEALTH_STATE_NOT_SERVING
        self._say("SERVING" if self._serves else f"NOT_SERVING: {result.cause}")
        try:
            await registration.report_health(state, result.cause)
        except grpc.aio.AioRpcError as error:
            if registration.closed:
                raise
            say(f"the health could not be reported, which is tried again: {error.details()}")

    def _say(self, state: str) -> None:
        if state != self._told:
            self._told = state
            say(f"the service on {LOOPBACK}:{self._port} is {state}")


def _serving(result: ProbeResult) -> bool:
    from sira.registry.v1.health_check_pb2 import HealthState

    return result.state == HealthState.HEALTH_STATE_SERVING
