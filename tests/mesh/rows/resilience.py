"""Rows about what happens when endpoints fail, are busy, or the kernel is not there."""

from __future__ import annotations

import grpc
from sira.registry.v1.circuit_breakers_pb2 import CircuitBreakers
from sira.registry.v1.outlier_detection_pb2 import FailurePercentage, OutlierDetection
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds.node import JAVA
from tests.mesh.cell import Cell, method_of
from tests.mesh.rows.policies import seconds
from tests.mesh.trial import Row, Trial

SECTION = "Failures"
BOUND = 2


async def circuit_breaker(trial: Trial) -> None:
    """No more calls are under way than the bound says; what is beyond it fails at once."""
    await trial.create(TrafficPolicy(circuit_breakers=CircuitBreakers(max_requests=BOUND)))
    (served,) = await trial.endpoints("e1")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1")))
    served.behaviour.delay = 1.0

    async def bounded(cell: Cell) -> None:
        method = method_of(cell)
        # Calls one after the other: Node.js counts a call when it has begun on a connection, so a burst goes through,
        # and one call more than the bound where two begin at the same time.
        await cell.load(rps=20, method=method)
        await cell.load_until(lambda tally: set(tally.codes) == {"OK", "UNAVAILABLE"})
        await cell.unload(may_fail=True)
        assert BOUND <= served.endpoint.most[method] <= BOUND + 1, f"{served.endpoint.most[method]} calls at once"

    await trial.each(bounded)


async def outlier(trial: Trial) -> None:
    """An endpoint that fails calls is left out."""
    judged = FailurePercentage(threshold=50, minimum_hosts=3, request_volume=5)
    ejecting = OutlierDetection(
        interval=seconds(1), base_ejection_time=seconds(60), max_ejection_percent=50, failure_percentage=judged
    )
    await trial.create(TrafficPolicy(outlier_detection=ejecting))
    served = await trial.endpoints("e1", "e2", "e3")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1", "e2", "e3"), 9))
    served[0].behaviour.fails = grpc.StatusCode.INTERNAL

    async def left_out(cell: Cell) -> None:
        await cell.until(lambda tally: tally.only("e2", "e3"), 40)

    await trial.each(left_out)


async def missing(trial: Trial) -> None:
    """A service that is not there is answered fast, and found as soon as it is there."""
    await trial.each(lambda cell: cell.open(trial.service))

    async def answered(cell: Cell) -> None:
        tally = await cell.call(timeout=10)
        assert set(tally.codes) <= {"UNAVAILABLE", "UNIMPLEMENTED"}, str(tally)
        assert tally.slowest < 2, str(tally)

    await trial.each(answered)
    await trial.world.create(trial.service)
    await trial.endpoint("e1")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1")))


async def restart(trial: Trial) -> None:
    """The kernel is killed and comes back under load: no call fails, and changes go on."""
    await _without_kernel(trial, 0)


async def away(trial: Trial) -> None:
    """The kernel is away for a while under load: no call fails, and changes go on when it is back."""
    await _without_kernel(trial, trial.away)


async def _without_kernel(trial: Trial, length: float) -> None:
    await trial.create()
    await trial.endpoints("e1", "e2")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1", "e2"), 10))
    async with trial.load():
        await trial.world.restart(length)
        await trial.endpoint("e3")
        # Go and Java connect again after pauses that grow with the time away, up to two minutes.
        patience = 30 + 1.5 * length
        await trial.each(lambda cell: cell.load_until(lambda tally: tally.only("e1", "e2", "e3"), seconds=patience))


_SLOW = {
    JAVA: "it waits for 15 s: grpc-java 1.85 reads no resource_errors (gRFC A88), and calls it INTERNAL without routes"
}

ROWS = (
    Row("breaker", "Circuit breaker", SECTION, circuit_breaker),
    Row("outlier", "Outlier ejection", SECTION, outlier),
    Row("missing", "Missing service answered fast", SECTION, missing, _SLOW),
    Row("restart", "Kernel restart under load", SECTION, restart, alone=True),
    Row("away", "Kernel away for a minute, under load", SECTION, away, alone=True),
)
