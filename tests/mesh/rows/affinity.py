"""Rows about endpoints that are chosen by who calls, by session, or by what endpoints tell of their load."""

from __future__ import annotations

from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TrafficPolicy
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

from tests.mesh.cell import Cell
from tests.mesh.endpoint import Behaviour
from tests.mesh.trial import Row, Trial, limits

SECTION = "Choice"
ENDPOINTS = ("e1", "e2", "e3", "e4")
KEYS = 24
COOKIE = "mesh-session"
LEAST_REQUEST = TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_LEAST_REQUEST)


async def ring_hash(trial: Trial) -> None:
    """Calls with the same key go to the same endpoint; keys spread over all of them."""
    await trial.create(TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RING_HASH, hash_header="x-user"))
    await trial.endpoints(*ENDPOINTS)

    async def keeps(cell: Cell) -> None:
        # Without a key calls go anywhere: so it is known when all endpoints are.
        await cell.until(lambda tally: tally.only(*ENDPOINTS), 60)
        homes = [await _home(cell, key) for key in range(KEYS)]
        assert len(set(homes)) > 1, f"all {KEYS} keys go to {homes[0]}"
        again = [await _home(cell, key) for key in range(KEYS)]
        assert again == homes, f"first {homes}, then {again}"

    await trial.each(keeps)


async def _home(cell: Cell, key: int) -> str:
    """The one endpoint that calls with a key go to."""
    tally = await cell.call(4, metadata={"x-user": f"user-{key}"})
    assert not tally.failed, str(tally)
    assert len(tally.endpoints) == 1, f"calls with one key go to several: {tally}"
    return next(iter(tally.endpoints))


async def session(trial: Trial) -> None:
    """A session stays at the endpoint that its cookie names."""
    await trial.create(TrafficPolicy(session_affinity=SessionAffinity(cookie=COOKIE)))
    await trial.endpoints(*ENDPOINTS)

    async def stays(cell: Cell) -> None:
        first = await cell.until(lambda tally: bool(tally.headers), header="set-cookie")
        cookie = first.headers[0].partition(";")[0]
        assert cookie.startswith(f"{COOKIE}="), cookie
        (home,) = first.endpoints
        again = await cell.call(20, metadata={"cookie": cookie})
        assert again.only(home), f"{again} with the cookie of {home}"

    await trial.each(stays)


async def least_request(trial: Trial) -> None:
    """The endpoint that is slow, and so has calls under way, gets fewer."""
    await trial.create(LEAST_REQUEST)
    await trial.endpoints("e1", "e2")
    await trial.endpoint("slow", behaviour=Behaviour(delay=0.2))
    # Of two that are picked at random both are the slow one in a ninth of the cases.
    await trial.each(lambda cell: cell.until(lambda tally: 0 < tally.share("slow") < 0.2, 120, concurrency=12))


async def orca(trial: Trial) -> None:
    """The endpoint that tells of less utilization gets more calls."""
    await trial.create(TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_ORCA_WEIGHTED))
    for name, utilization in (("idle", 0.1), ("busy", 0.9)):
        load = OrcaLoadReport(application_utilization=utilization, rps_fractional=100)
        await trial.endpoint(name, behaviour=Behaviour(load=load))
    await trial.each(lambda cell: cell.until(lambda tally: tally.share("idle") > 0.75, 100, seconds=25))


ROWS = (
    Row("least-request", "Least request", SECTION, least_request, limits(LEAST_REQUEST)),
    Row("ring-hash", "Ring hash affinity", SECTION, ring_hash),
    Row("session", "Session affinity", SECTION, session, alone=True),
    Row("orca", "Weights by reported load (ORCA)", SECTION, orca, slow=True),
)
