"""Rows about which endpoints get calls, and how many."""

from __future__ import annotations

import asyncio

from sira.registry.v1 import registry_service_pb2 as pb
from sira.registry.v1.health_check_pb2 import HealthCheck, HealthState, TtlCheck
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, SlowStart, TrafficPolicy

from tests.mesh.cell import Cell
from tests.mesh.columns import REGION, ZONE
from tests.mesh.rows.policies import seconds
from tests.mesh.tally import Tally
from tests.mesh.trial import Row, Trial

SECTION = "Endpoints"
RAMP_SECONDS = 15.0
TTL_SECONDS = 60.0


async def discover(trial: Trial) -> None:
    """A service is found by its name with the namespace, and without it."""
    await trial.create()
    await trial.endpoint("e1")

    async def found(cell: Cell) -> None:
        await cell.until(lambda tally: tally.only("e1"))
        await cell.close()
        await cell.open(trial.service, short=True)
        await cell.until(lambda tally: tally.only("e1"))

    await trial.each(found)


async def balance(trial: Trial) -> None:
    """Three endpoints share the calls evenly."""
    await trial.create()
    await trial.endpoints("e1", "e2", "e3")
    await trial.each(lambda cell: cell.until(lambda tally: even(tally, "e1", "e2", "e3"), 60))


async def weights(trial: Trial) -> None:
    """Calls go by weight; a weight that changes counts at once."""
    await trial.create(TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_WEIGHTED))
    light = await trial.endpoint("light", weight=20)
    await trial.endpoint("heavy", weight=80)
    await trial.each(lambda cell: cell.until(lambda tally: near(tally.share("light"), 0.2), 200, concurrency=4))
    await light.registration.update(weight=240)
    await trial.each(lambda cell: cell.until(lambda tally: near(tally.share("light"), 0.75), 200, concurrency=4))


async def come_and_go(trial: Trial) -> None:
    """Endpoints come and go under load, and no call fails."""
    await trial.create()
    first = await trial.endpoint("e1", drain_timeout=5)
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1")))
    async with trial.load():
        second = await trial.endpoint("e2", drain_timeout=5)
        await trial.each(lambda cell: cell.load_until(lambda tally: tally.only("e1", "e2")))
        await first.registration.close()
        await trial.each(lambda cell: cell.load_until(lambda tally: tally.only("e2")))
        await trial.endpoint("e3")
        await second.registration.close()
        await trial.each(lambda cell: cell.load_until(lambda tally: tally.only("e3")))


async def health(trial: Trial) -> None:
    """An endpoint that says it is unwell gets no calls until it is well again; none fails."""
    check = HealthCheck(ttl=TtlCheck(ttl=seconds(TTL_SECONDS)))
    await trial.create()
    one, two = await trial.endpoints("e1", "e2", health_check=check)
    for each in (one, two):
        await each.registration.report_health(HealthState.HEALTH_STATE_SERVING)
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1", "e2"), 10))
    async with trial.load():
        await one.registration.report_health(HealthState.HEALTH_STATE_NOT_SERVING)
        await trial.each(lambda cell: cell.load_until(lambda tally: tally.only("e2")))
        await one.registration.report_health(HealthState.HEALTH_STATE_SERVING)
        await trial.each(lambda cell: cell.load_until(lambda tally: tally.only("e1", "e2")))


async def drain(trial: Trial) -> None:
    """A draining endpoint gets no new calls, and those under way end well."""
    await trial.create()
    one, _ = await trial.endpoints("e1", "e2")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("e1", "e2"), 10))
    async with trial.load(timeout=20):
        one.behaviour.delay = 1.0
        await trial.each(lambda cell: cell.load_until(lambda tally: "e2" in tally.endpoints))
        await trial.world.client.registry.Drain(pb.DrainRequest(names=[one.registration.name], cause="matrix"))
        await trial.each(lambda cell: cell.load_until(lambda tally: tally.only("e2")))


async def locality(trial: Trial) -> None:
    """Calls stay in the client's zone, go on to its region and then elsewhere as endpoints fail, and come back."""
    check = HealthCheck(ttl=TtlCheck(ttl=seconds(TTL_SECONDS)))
    await trial.create(TrafficPolicy(locality_failover=LocalityFailover()))
    places = {"zone": (REGION, ZONE), "region": (REGION, "eu-b"), "far": ("us", "us-a")}
    served = {
        name: await trial.endpoint(name, locality=Locality(region=region, zone=zone), health_check=check)
        for name, (region, zone) in places.items()
    }
    for each in served.values():
        await each.registration.report_health(HealthState.HEALTH_STATE_SERVING)
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("zone"), 20))
    for gone, then in (("zone", "region"), ("region", "far")):
        await served[gone].registration.report_health(HealthState.HEALTH_STATE_NOT_SERVING)
        await trial.each(lambda cell, then=then: cell.until(lambda tally: tally.only(then), 20))  # type: ignore[misc]
    await served["zone"].registration.report_health(HealthState.HEALTH_STATE_SERVING)
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("zone"), 20))


async def subset(trial: Trial) -> None:
    """Each client uses no more endpoints than its subset has."""
    await trial.create(TrafficPolicy(subset_size=2))
    await trial.endpoints("e1", "e2", "e3", "e4")

    async def uses_two(cell: Cell) -> None:
        tally = await cell.until(lambda tally: len(tally.endpoints) == 2, 40)
        again = await cell.call(40)
        assert again.only(*tally.endpoints), f"{again} after {tally}"

    await trial.each(uses_two)


async def slow_start(trial: Trial) -> None:
    """A new endpoint gets few calls at first, and its full share in the end."""
    policy = TrafficPolicy(slow_start=SlowStart(window=seconds(RAMP_SECONDS), min_weight_share=0.1))
    await trial.create(policy)
    await trial.endpoint("old")
    await trial.each(lambda cell: cell.until(lambda tally: tally.only("old")))
    # The first one's own ramp has to be over: nothing tells that but the time.
    await asyncio.sleep(RAMP_SECONDS)
    await trial.endpoint("new")

    async def ramps(cell: Cell) -> None:
        await cell.until(lambda tally: 0 < tally.share("new") < 0.3, 60, concurrency=4)
        await cell.until(lambda tally: near(tally.share("new"), 0.5), 100, concurrency=4, seconds=2 * RAMP_SECONDS)

    await trial.each(ramps)


def even(tally: Tally, *endpoints: str) -> bool:
    """Whether these endpoints, and no others, have shared the calls evenly."""
    return tally.only(*endpoints) and all(near(tally.share(each), 1 / len(endpoints)) for each in endpoints)


def near(share: float, wanted: float) -> bool:
    """Whether a share of some hundred calls is what is wanted, but for chance."""
    return abs(share - wanted) < 0.12


ROWS = (
    Row("discover", "Discover", SECTION, discover),
    Row("balance", "Balance", SECTION, balance),
    Row("weights", "Weights", SECTION, weights),
    Row("come-and-go", "Add and remove under load", SECTION, come_and_go),
    Row("health", "Health change", SECTION, health),
    Row("drain", "Drain", SECTION, drain),
    Row("locality", "Locality failover", SECTION, locality),
    Row("subset", "Subset of the endpoints", SECTION, subset),
    Row("slow-start", "Slow start", SECTION, slow_start, slow=True),
)
