"""Probed checks: asks every endpoint for its health again and again, and follows those that tell by themselves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from random import Random

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.clock import Clock
from sira_grpc.registry.health_probed import DEFAULT_INTERVAL, ProbedEndpoint
from sira_grpc.registry.health_queue import ProbeQueue
from sira_grpc.registry.health_schedule import CallLater, Schedule
from sira_grpc.registry.probe_api import Prober, ProbeResult

_log = logging.getLogger(__name__)


class ProbedChecks:
    """Probes endpoints on one timer: at once, then at a random point of the interval, then at every interval.

    An endpoint that answers and can be followed is followed: its stream says at once what changes. It is then probed
    at every sixth interval only, to find out that a host fell silent. A stream that ends is a reason to probe at
    once, and a good probe to follow again, once an interval at most. A probe that fails ends the stream.

    Args:
        report: called from the event loop with the name of an endpoint whose settled state changed. It may call back.
        max_concurrent, max_per_second: see ProbeQueue.
    """

    def __init__(
        self,
        prober: Prober,
        report: Callable[[str, ProbeResult], None],
        *,
        clock: Clock,
        random: Random,
        call_later: CallLater,
        max_concurrent: int,
        max_per_second: int,
    ) -> None:
        self._prober = prober
        self._report = report
        self._clock = clock
        self._random = random
        self._checks: dict[str, ProbedEndpoint] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._blind = False
        self._schedule = Schedule(self._due, clock=clock, call_later=call_later)
        self._queue = ProbeQueue(
            self._start,
            clock=clock,
            call_later=call_later,
            max_concurrent=max_concurrent,
            max_per_second=max_per_second,
        )

    def set(self, endpoint: Endpoint, state: HealthState.ValueType, *, at_once: bool) -> None:
        """Begins to probe an endpoint that is not probed yet, going on from a settled state.

        Without at_once, one whose state is known is first probed within the interval, 10 s at most: a restarted kernel
        knows thousands, and has more urgent things to do.
        """
        check = self._checks[endpoint.name] = ProbedEndpoint(endpoint, state)
        if at_once or check.thresholds.state == HealthState.HEALTH_STATE_STARTING:
            self._queue.add(endpoint.name)
        else:
            delay = self._random.random() * min(check.interval, DEFAULT_INTERVAL)
            self._schedule.at(endpoint.name, self._clock.monotonic() + delay)

    def remove(self, name: str) -> None:
        """Probes no more. An unknown name is no error."""
        check = self._checks.pop(name, None)
        if check is None:
            return
        self._schedule.cancel(name)
        self._queue.discard(name)
        if check.probe is not None:
            check.probe.cancel()
        self._unfollow(check)
        self._prober.release(check.endpoint)

    def probe_now(self, name: str) -> None:
        """Probes before all others; a failure counts at once. An unknown name is no error."""
        check = self._checks.get(name)
        if check is None:
            return
        check.urgent = True
        if check.probe is None:
            self._schedule.cancel(name)
            self._queue.add(name, urgent=True)

    async def close(self) -> None:
        """Ends every probe and stream, and waits for that."""
        for name in list(self._checks):
            self.remove(name)
        self._queue.close()
        self._schedule.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _due(self, name: str) -> None:
        self._queue.add(name)

    def _start(self, name: str) -> None:
        check = self._checks[name]
        check.begin(self._clock.monotonic())
        task = asyncio.get_running_loop().create_task(self._prober.probe(check.endpoint))
        check.probe = task
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._probed(check, task))

    def _probed(self, check: ProbedEndpoint, task: asyncio.Task[ProbeResult]) -> None:
        self._tasks.discard(task)
        check.probe = None
        if self._checks.get(check.name) is check:
            self._settle(check, _outcome(check.name, task))
        self._queue.finished()

    def _settle(self, check: ProbedEndpoint, result: ProbeResult | None) -> None:
        """Acts on a probe's result: follow or not, when to probe again, and what it says of the endpoint."""
        urgent, again = check.urgent_probe, check.urgent
        if result is None or _is_no_evidence(result):
            self._note_blind(result)
            if check.thresholds.state != HealthState.HEALTH_STATE_STARTING:
                result = None
        else:
            self._blind = False
            again = again and _is_good(result)
            urgent = urgent or check.urgent
            if _is_good(result) or result.authoritative:
                self._follow(check)
            else:
                self._unfollow(check)
        check.urgent = again
        if again:
            self._queue.add(check.name, urgent=True)
        else:
            self._schedule.at(check.name, check.next_probe(self._random))
        if result is not None and not check.is_outdated(result):
            self._take(check, result, at_once=urgent)

    def _follow(self, check: ProbedEndpoint) -> None:
        now = self._clock.monotonic()
        if check.stream is not None or now < check.follow_after:
            return
        stream = self._prober.follow(check.endpoint)
        if stream is None:
            return
        check.follow_after = now + check.interval
        task = asyncio.get_running_loop().create_task(self._consume(check, stream))
        check.stream = task
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._stream_ended(check, task))

    def _unfollow(self, check: ProbedEndpoint) -> None:
        if check.stream is not None:
            check.stream.cancel()
            check.stream = None

    async def _consume(self, check: ProbedEndpoint, stream: AsyncGenerator[ProbeResult, None]) -> None:
        async with aclosing(stream):
            async for result in stream:
                check.messages += 1
                self._take(check, result, at_once=False)

    def _stream_ended(self, check: ProbedEndpoint, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if check.stream is not task:
            return
        check.stream = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("following the health of %s failed", check.name, exc_info=error)
        if check.probe is None:
            self._schedule.cancel(check.name)
            self._queue.add(check.name)

    def _take(self, check: ProbedEndpoint, result: ProbeResult, *, at_once: bool) -> None:
        if check.thresholds.take(result.state, at_once=at_once or result.authoritative):
            self._report(check.name, result)

    def _note_blind(self, result: ProbeResult | None) -> None:
        """Says once, not once a probe, that the kernel itself cannot probe."""
        if result is not None and not self._blind:
            self._blind = True
            _log.warning("health probes cannot be made: %s; endpoints keep the state they have", result.cause)


def _outcome(name: str, task: asyncio.Task[ProbeResult]) -> ProbeResult | None:
    """Returns what a probe found; None if it broke off, which is no fault of the endpoint."""
    if task.cancelled():
        return None
    error = task.exception()
    if error is None:
        return task.result()
    _log.error("the health probe of %s failed", name, exc_info=error)
    return None


def _is_good(result: ProbeResult) -> bool:
    return result.state == HealthState.HEALTH_STATE_SERVING


def _is_no_evidence(result: ProbeResult) -> bool:
    return result.state == HealthState.HEALTH_STATE_UNKNOWN and not result.authoritative
