"""The scenes without an SDK: a plain gRPC client, and one through an Envoy, see a kill and a change of versions."""

from __future__ import annotations

import asyncio
import time

from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.registry_service_pb2 import UpdateServiceRequest
from sira.registry.v1.retry_policy_pb2 import RetryOn, RetryPolicy
from sira.registry.v1.route_pb2 import Destination, Route, Split
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TlsMode, TrafficPolicy

from demo.fleet import CALLERS, EAST_A, NEW_VERSION, VERSION, WEST_A
from demo.observer import SERVICE
from demo.stage import PATIENCE_SECONDS, Demo
from demo.tally import of

ATTEMPTS = 3
NEWCOMER = "greeter-8"
STEPS = (50, 100)
"""Percent of the calls that go to the new version, one after the other."""
TOLERANCE = 15
SETTLE_SECONDS = 0.6
"""How long calls that were under way, and the reports of them, may take to come in."""


async def no_sdk(demo: Demo) -> None:
    """Clients that know nothing of Sira call the same service over mutual TLS."""
    told = "a plain gRPC client with a bootstrap file"
    through = " and one through an Envoy sidecar" if demo.fleet.envoy else ""
    demo.screen.scene(f"No SDK: {told}{through}")
    retry = RetryPolicy(max_attempts=ATTEMPTS, retry_on=[RetryOn.RETRY_ON_UNAVAILABLE])
    await _set_policy(demo, TrafficPolicy(tls=TlsMode.TLS_MODE_MUTUAL, retry=retry), "tls", "retry")
    began = time.monotonic()
    names = await demo.fleet.start_plain_callers(WEST_A)
    for name in names:
        demo.watching.create_task(demo.observer.listen(demo.fleet.plain_callers[name]))
    if not demo.fleet.envoy:
        demo.screen.note("no Envoy for this platform: left out")
    called = await demo.observer.until(
        lambda: all(of(demo.observer.tally.calls, caller=name) for name in names), within=PATIENCE_SECONDS
    )
    demo.screen.check(called, f"{' and '.join(names)} call {time.monotonic() - began:.1f} s after they were started")
    # As long as the dead count as ill, a part of the calls goes to the next zone, as the policy says.
    dead = [name for name, greeter in demo.fleet.greeters.items() if greeter.fate]
    await demo.observer.until(
        lambda: all(demo.observer.endpoint(name) is None for name in dead), within=PATIENCE_SECONDS
    )
    await asyncio.sleep(SETTLE_SECONDS)
    calls = await demo.observer.during(demo.seconds)
    near = [name for name, greeter in demo.fleet.running.items() if greeter.place == WEST_A]
    for name in names:
        alone = of(calls, caller=name) == of(calls, caller=name, greeters=near)
        demo.screen.check(alone, f"{name} in {WEST_A} calls {' and '.join(near)}: the same policy as for the others")


async def kill_unseen(demo: Demo) -> None:
    """One process dies, and those without an SDK go elsewhere too."""
    victim = next(name for name, greeter in demo.fleet.running.items() if greeter.place == WEST_A)
    demo.screen.scene(f"kill -9 {victim}, before the eyes of those without an SDK")
    await demo.fleet.kill(victim)
    await asyncio.sleep(demo.seconds)
    calls = await demo.observer.during(demo.seconds)
    for name in demo.fleet.plain_callers:
        gone = of(calls, caller=name) > 0 and not of(calls, caller=name, greeters=[victim])
        demo.screen.check(gone, f"{name} goes on, and {victim} gets none of its calls any more")


async def shift(demo: Demo) -> None:
    """A new version takes over, step by step, for every caller alike."""
    demo.screen.scene(f"{NEWCOMER} comes up with version {NEW_VERSION}: calls move over in steps")
    everybody = [*CALLERS, *demo.fleet.plain_callers]
    await _set_policy(demo, _split(0), "routes")
    await demo.fleet.start_greeter(NEWCOMER, EAST_A, version=NEW_VERSION)
    await demo.observer.until(lambda: demo.observer.state(NEWCOMER) == "serving", within=PATIENCE_SECONDS)
    calls = await demo.observer.during(demo.seconds)
    demo.screen.check(not of(calls, greeters=[NEWCOMER]), f"at 0% {NEWCOMER} is there and gets no call")
    for percent in STEPS:
        await _set_policy(demo, _split(percent), "routes")
        await asyncio.sleep(demo.seconds)
        calls = await demo.observer.during(demo.seconds)
        shares = {
            name: round(100 * of(calls, caller=name, greeters=[NEWCOMER]) / max(1, of(calls, caller=name)))
            for name in everybody
        }
        ok = all(abs(share - percent) <= (TOLERANCE if percent < 100 else 0) for share in shares.values())
        told = ", ".join(f"{name} {share}%" for name, share in shares.items())
        demo.screen.check(ok, f"at {percent}% it gets of the calls of {told}")
    await _set_policy(demo, TrafficPolicy(), "routes")
    codes = await demo.fleet.stop_plain_callers()
    demo.screen.check(not any(codes), "those without an SDK, and the sidecar, stopped in good order")


def _split(percent: int) -> TrafficPolicy:
    shares = {VERSION: 100 - percent, NEW_VERSION: percent}
    splits = [Split(weight=weight, destination=Destination(version=version)) for version, weight in shares.items()]
    return TrafficPolicy(routes=[Route(splits=splits)])


async def _set_policy(demo: Demo, policy: TrafficPolicy, *paths: str) -> None:
    request = UpdateServiceRequest(
        service=Service(name=SERVICE, traffic_policy=policy),
        update_mask=FieldMask(paths=[f"traffic_policy.{path}" for path in paths]),
    )
    await demo.client.registry.UpdateService(request)
