"""Rows about where calls go by what they are, and what becomes of them there."""

from __future__ import annotations

import uuid

from sira.registry.v1.fault_injection_pb2 import FaultAbort, FaultDelay, FaultInjection
from sira.registry.v1.retry_policy_pb2 import RetryOn, RetryPolicy
from sira.registry.v1.route_pb2 import Destination, HeaderMatch, Mirror, RouteMatch
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from tests.mesh.cell import Cell, method_of
from tests.mesh.endpoint import CALL_ID, SERVICE
from tests.mesh.rows.endpoints import near
from tests.mesh.rows.policies import routed, seconds, split
from tests.mesh.trial import Row, Trial

SECTION = "Routes"
STEPS = (25, 50, 75, 100)
TIMEOUT = 0.3
DELAY = 0.3
OTHER = f"{SERVICE}Other"


async def shift(trial: Trial) -> None:
    """Calls shift from one version to another in steps, under load, and none fails."""
    await trial.create(routed(split(v1=100, v2=0)))
    await trial.endpoint("old", version="v1")
    await trial.endpoint("new", version="v2")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("old"), 10))
    async with trial.load():
        for percent in STEPS:
            await trial.change(traffic_policy=routed(split(v1=100 - percent, v2=percent)))

            async def follows(cell: Cell, percent: int = percent) -> None:
                await cell.until(lambda tally: near(tally.share("new"), percent / 100), 150, concurrency=4)

            await trial.each(follows)
        await trial.each(lambda cell: cell.load_until(lambda tally: tally.only("new")))


async def matches(trial: Trial) -> None:
    """Calls go by their metadata and their method."""
    canary = RouteMatch(headers=[HeaderMatch(name="x-canary", exact="yes")])
    other = RouteMatch(path_exact=OTHER)
    tested = RouteMatch(path_prefix=SERVICE, headers=[HeaderMatch(name="x-tester", prefix="qa-")])
    await trial.create(routed(split(canary, v2=1), split(other, v3=1), split(tested, v3=1), split(v1=1)))
    for version in ("v1", "v2", "v3"):
        await trial.endpoint(f"e-{version}", version=version)

    async def goes(cell: Cell) -> None:
        await cell.until(lambda tally: tally.only("e-v1"), 5)
        await cell.until(lambda tally: tally.only("e-v2"), 5, metadata={"x-canary": "yes"})
        await cell.until(lambda tally: tally.only("e-v3"), 5, method=OTHER)
        await cell.until(lambda tally: tally.only("e-v3"), 5, metadata={"x-tester": "qa-7"})
        for key, value in (("x-canary", "no"), ("x-tester", "dev")):
            tally = await cell.call(5, metadata={key: value})
            assert tally.only("e-v1"), f"{key}: {value}: {tally}"

    await trial.each(goes)


async def retries(trial: Trial) -> None:
    """Calls that fail are tried again, as often as the policy says."""
    await trial.create()
    (served,) = await trial.endpoints("e1")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1")))
    served.behaviour.fails_first = True

    async def fails(cell: Cell) -> None:
        tally = await cell.call(metadata={CALL_ID: str(uuid.uuid4())})
        assert tally.fails_with("UNAVAILABLE"), f"without a policy: {tally}"

    await trial.each(fails)
    retry = RetryPolicy(max_attempts=2, retry_on=[RetryOn.RETRY_ON_UNAVAILABLE], initial_backoff=seconds(0.01))
    await trial.change(traffic_policy=TrafficPolicy(retry=retry))

    async def tried_again(cell: Cell) -> None:
        await _until_new(cell, succeeds=True)
        for _ in range(5):
            tally = await cell.call(metadata={CALL_ID: str(uuid.uuid4())})
            assert tally.only("e1"), f"with retries: {tally}"

    await trial.each(tried_again)


async def _until_new(cell: Cell, *, succeeds: bool) -> None:
    """Makes calls that no endpoint has seen before, until one ends as it should."""
    for _ in range(100):
        tally = await cell.call(metadata={CALL_ID: str(uuid.uuid4())})
        if tally.only("e1") is succeeds:
            return
    raise AssertionError(f"at last: {tally}")


async def timeout(trial: Trial) -> None:
    """A call does not take longer than the policy allows, whatever its own deadline."""
    await trial.create(TrafficPolicy(timeout=seconds(TIMEOUT)))
    (served,) = await trial.endpoints("e1")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1")))
    served.behaviour.delay = 5

    async def ends(cell: Cell) -> None:
        tally = await cell.call(timeout=20)
        assert tally.fails_with("DEADLINE_EXCEEDED"), str(tally)
        assert TIMEOUT * 0.9 < tally.slowest < 2, str(tally)

    await trial.each(ends)


async def fault(trial: Trial) -> None:
    """A share of the calls fails, or is delayed, at the caller."""
    await trial.create()
    await trial.endpoints("e1")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1")))
    await trial.change(traffic_policy=TrafficPolicy(fault=FaultInjection(abort=FaultAbort(code=10, percent=100))))
    await trial.each(lambda cell: cell.until(lambda tally: tally.fails_with("ABORTED"), 5))
    await trial.change(traffic_policy=TrafficPolicy(fault=FaultInjection(abort=FaultAbort(code=10, percent=50))))
    await trial.each(lambda cell: cell.until(lambda tally: near(tally.codes.get("ABORTED", 0) / tally.calls, 0.5), 100))
    delay = FaultInjection(delay=FaultDelay(delay=seconds(DELAY), percent=100))
    await trial.change(traffic_policy=TrafficPolicy(fault=delay))
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1") and tally.took >= DELAY * 0.9))
    await trial.change(traffic_policy=None)
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1") and tally.slowest < DELAY * 0.9, 3))


async def mirror(trial: Trial) -> None:
    """Calls are copied to another version, and what comes of the copies is nobody's concern."""
    copied = Mirror(destination=Destination(version="v2"), percent=100)
    await trial.create(TrafficPolicy(routes=[split(v1=1)], mirror=copied))
    await trial.endpoint("e1", version="v1")
    shadow = await trial.endpoint("e2", version="v2")

    async def copies(cell: Cell) -> None:
        method = method_of(cell)
        await cell.until(lambda tally: tally.only("e1") and shadow.endpoint.calls[method] > 0, 5, method=method)

    await trial.each(copies)


ROWS = (
    Row("shift", "Split, and shift 0 → 100% in steps", SECTION, shift),
    Row("matches", "Match of metadata and method", SECTION, matches),
    Row("retries", "Retries", SECTION, retries),
    Row("timeout", "Timeout", SECTION, timeout),
    Row("fault", "Fault injection", SECTION, fault),
    Row("mirror", "Mirroring", SECTION, mirror, alone=True),
)
