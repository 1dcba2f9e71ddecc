"""The scenes: what is done to the service, and what must come of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.lease_pb2 import LeaseState
from sira.registry.v1.registry_service_pb2 import DrainOutcome, DrainRequest
from sira.registry.v1.resolver_service_pb2 import ListEventsRequest, ListLeasesRequest
from sira_client import UnavailableError

from demo.bus_scenes import count_orders, kill_picker, open_shop, poison
from demo.fleet import CALLERS, EAST_A, WEST_A, WEST_B
from demo.identity_scenes import refuse, rotate_root
from demo.mesh_scenes import kill_unseen, no_sdk, shift
from demo.observer import SERVICE
from demo.stage import PATIENCE_SECONDS, Demo, Scene
from demo.tally import of

SETTLE_SECONDS = 0.6
"""How long calls that were under way, and the reports of them, may take to come in."""


async def nearest(demo: Demo) -> None:
    """Each caller keeps to its own locality."""
    demo.screen.scene("Everybody calls whoever is nearest")
    calls = await demo.observer.during(demo.seconds)
    for caller, place in CALLERS.items():
        near = [name for name, greeter in demo.fleet.running.items() if greeter.place == place]
        shared = all(of(calls, caller=caller, greeters=[name]) for name in near)
        alone = of(calls, caller=caller) == of(calls, caller=caller, greeters=near)
        demo.screen.check(shared and alone, f"{caller} in {place} calls {' and '.join(near)}, and nobody else")


async def kill(demo: Demo) -> None:
    """One process dies without a word."""
    victim = "greeter-1"
    demo.screen.scene(f"kill -9 {victim} in {WEST_A}")
    retried, began = demo.observer.tally.retried, time.monotonic()
    await demo.fleet.kill(victim)
    await _gone(demo, [victim], began)
    await asyncio.sleep(SETTLE_SECONDS)
    calls = await demo.observer.during(demo.seconds)
    demo.screen.note(f"{demo.observer.tally.retried - retried} calls broke off there and were answered by others")
    demo.screen.check(not of(calls, greeters=[victim]), f"{victim} gets no calls any more")
    demo.screen.check(demo.steady(of(calls)), "calls go on at their rate")


async def drain(demo: Demo) -> None:
    """One process is taken out of use before it is stopped."""
    leaver, other = "greeter-5", "greeter-6"
    demo.screen.scene(f"drain {leaver} in {EAST_A}, then stop it")
    began = time.monotonic()
    request = DrainRequest(names=[f"{SERVICE}/endpoints/{leaver}"], cause="the demo drains it")
    request.timeout.FromSeconds(round(PATIENCE_SECONDS))
    answer = await demo.client.registry.Drain(request, timeout=2 * PATIENCE_SECONDS)
    drained = answer.outcome == DrainOutcome.DRAIN_OUTCOME_DRAINED
    took = time.monotonic() - began
    told = f"{answer.watchers_notified} watchers were told and nothing was in flight after {took:.2f} s"
    demo.screen.check(drained, told)
    await asyncio.sleep(SETTLE_SECONDS)
    calls = await demo.observer.during(demo.seconds)
    demo.screen.check(not of(calls, greeters=[leaver]), f"{leaver} gets no calls any more, and still runs")
    near = of(calls, caller="caller-2") == of(calls, caller="caller-2", greeters=[other])
    demo.screen.check(near, f"caller-2 calls {other} alone: what drains counts neither as there nor as ill")
    demo.screen.check(await demo.fleet.stop(leaver) == 0, f"{leaver} was stopped and deregistered itself")


async def add(demo: Demo) -> None:
    """One more process comes up."""
    newcomer = "greeter-7"
    demo.screen.scene(f"add {newcomer} in {WEST_A}")
    began = time.monotonic()
    await demo.fleet.start_greeter(newcomer, WEST_A)
    called = await demo.observer.until(
        lambda: of(demo.observer.tally.calls, greeters=[newcomer]) > 0, within=PATIENCE_SECONDS
    )
    demo.screen.check(called, f"{newcomer} was called {time.monotonic() - began:.1f} s after its process was started")
    calls = await demo.observer.during(demo.seconds)
    got, all_calls = of(calls, caller="caller-1", greeters=[newcomer]), of(calls, caller="caller-1")
    demo.screen.check(got > 0, f"{newcomer} got {got} of the {all_calls} calls of caller-1 since")


async def fail_locality(demo: Demo) -> None:
    """All processes of one locality die at once."""
    victims = [name for name, greeter in demo.fleet.running.items() if greeter.place == WEST_A]
    heirs = [name for name, greeter in demo.fleet.running.items() if greeter.place == WEST_B]
    demo.screen.scene(f"{WEST_A} fails: kill -9 {' '.join(victims)}")
    retried, began = demo.observer.tally.retried, time.monotonic()
    await asyncio.gather(*(demo.fleet.kill(victim) for victim in victims))
    await _gone(demo, victims, began)
    await asyncio.sleep(SETTLE_SECONDS)
    calls = await demo.observer.during(demo.seconds)
    demo.screen.note(f"{demo.observer.tally.retried - retried} calls broke off there and were answered by others")
    moved = all(of(calls, caller="caller-1", greeters=[name]) for name in heirs)
    alone = of(calls, caller="caller-1") == of(calls, caller="caller-1", greeters=heirs)
    demo.screen.check(
        moved and alone, f"caller-1 calls {' and '.join(heirs)} in {WEST_B}: the same region, the next zone"
    )
    demo.screen.check(demo.steady(of(calls)), "calls go on at their rate")


async def restart_kernel(demo: Demo) -> None:
    """The kernel dies and comes back."""
    demo.screen.scene("kill -9 the kernel, then start it again")
    living = set(demo.fleet.running)
    before = {name: _identity(demo, name) for name in living}
    newest = (await demo.client.resolver.ListEvents(ListEventsRequest(page_size=1))).events[0].time.ToNanoseconds()
    await demo.fleet.kill_kernel()
    calls = await demo.observer.during(demo.seconds)
    demo.screen.check(demo.steady(of(calls)), f"{of(calls)} calls were answered while there was no kernel")
    seconds = await demo.fleet.start_kernel()
    demo.screen.note(f"the kernel is ready again after {seconds:.2f} s")
    began = time.monotonic()
    demo.screen.check(
        await _all_held(demo, living), f"every greeter held its lease again {time.monotonic() - began:.1f} s later"
    )
    calls = await demo.observer.during(demo.seconds)
    demo.screen.check(demo.steady(of(calls)), "calls go on at their rate")
    kept = all(_identity(demo, name) == before[name] for name in living)
    harmed = await _events_of(demo, {lease for _, lease in before.values()}, since=newest)
    demo.screen.check(kept and not harmed, "nobody was evicted, suspect or registered anew")


SCENES: tuple[Scene, ...] = (
    *(nearest, kill, refuse, drain, add, no_sdk, kill_unseen, shift, rotate_root, fail_locality),
    *(open_shop, kill_picker, poison, restart_kernel, count_orders),
)


async def _gone(demo: Demo, victims: list[str], began: float) -> None:
    """Checks that Resolve leaves out those that have died."""
    left = set(victims)
    patience = time.monotonic() + PATIENCE_SECONDS
    while left and time.monotonic() < patience:
        resolved = {endpoint.name.rpartition("/")[2] for endpoint in await demo.client.resolve(SERVICE)}
        left &= resolved
        if left:
            await asyncio.sleep(0.005)
    text = f"out of resolution {(time.monotonic() - began) * 1000:.0f} ms later"
    demo.screen.check(not left, text)


def _identity(demo: Demo, name: str) -> tuple[int, str]:
    """When a greeter was registered, and under which lease."""
    endpoint = demo.observer.endpoint(name)
    return (endpoint.create_time.ToNanoseconds(), endpoint.lease) if endpoint is not None else (0, "")


async def _all_held(demo: Demo, names: set[str]) -> bool:
    """Waits until streams hold the leases of all these greeters."""
    wanted = {_identity(demo, name)[1] for name in names}
    patience = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < patience:
        with suppress(UnavailableError):  # the connection has not found the new kernel yet
            leases = (await demo.client.resolver.ListLeases(ListLeasesRequest())).leases
            if wanted <= {lease.name for lease in leases if lease.state == LeaseState.LEASE_STATE_HELD}:
                return True
        await asyncio.sleep(0.05)
    return False


async def _events_of(demo: Demo, leases: set[str], *, since: int) -> list[str]:
    """What befell the running greeters and these leases after a time in Unix nanoseconds."""
    bad = {EventType.EVENT_TYPE_LEASE_SUSPECT, EventType.EVENT_TYPE_EXPIRED, EventType.EVENT_TYPE_DELETED}
    watched = leases | {f"{SERVICE}/endpoints/{name}" for name in demo.fleet.running}
    events = (await demo.client.resolver.ListEvents(ListEventsRequest(page_size=1000))).events
    return [e.cause for e in events if e.type in bad and e.resource in watched and e.time.ToNanoseconds() > since]
