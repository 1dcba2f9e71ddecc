"""Time that a test moves by hand, and a prober whose answers a test gives."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from random import Random

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.registry.health_checks import HealthChecks
from sira_grpc.registry.probe_api import ProbeResult

STARTING = HealthState.HEALTH_STATE_STARTING
SERVING = HealthState.HEALTH_STATE_SERVING
NOT_SERVING = HealthState.HEALTH_STATE_NOT_SERVING
UNKNOWN = HealthState.HEALTH_STATE_UNKNOWN

GOOD = ProbeResult(SERVING, "answers")
BAD = ProbeResult(NOT_SERVING, "connection refused")


class Timer:
    """A timer of FakeTime."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeTime:
    """A Clock and its timers, which stand still until they are moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._seq = itertools.count()

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (self.now + delay, next(self._seq), timer))
        return timer

    @property
    def timers(self) -> int:
        """Timers that are set."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    def advance(self, seconds: float) -> None:
        """Moves on and fires what falls due, in order."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if timer.callback is not None:
                timer.callback()
        self.now = end


@dataclass
class Question:
    """One probe under way."""

    name: str
    result: asyncio.Future[ProbeResult] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ScriptedProber:
    """A Prober that answers what the test says, when it says so."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[Question] = asyncio.Queue()
        self.asked: list[str] = []
        self.released: list[str] = []
        self.streams: dict[str, asyncio.Queue[ProbeResult | Exception | None]] = {}
        self.follows: list[str] = []
        self.followable = False

    async def probe(self, endpoint: Endpoint) -> ProbeResult:
        question = Question(endpoint.name)
        self.asked.append(endpoint.name)
        self.questions.put_nowait(question)
        return await question.result

    def follow(self, endpoint: Endpoint) -> AsyncGenerator[ProbeResult, None] | None:
        return self._stream(endpoint.name) if self.followable else None

    async def _stream(self, name: str) -> AsyncGenerator[ProbeResult, None]:
        messages: asyncio.Queue[ProbeResult | Exception | None] = asyncio.Queue()
        self.streams[name] = messages
        self.follows.append(name)
        try:
            while (message := await messages.get()) is not None:
                if isinstance(message, Exception):
                    raise message
                yield message
        finally:
            if self.streams.get(name) is messages:
                del self.streams[name]

    def release(self, endpoint: Endpoint) -> None:
        self.released.append(endpoint.name)

    async def close(self) -> None:
        raise AssertionError("whoever made the prober closes it")


class Bench:
    """HealthChecks with scripted surroundings, and what it reported."""

    def __init__(self, *, max_concurrent: int = 100) -> None:
        self.time = FakeTime()
        self.prober = ScriptedProber()
        self.reports: list[tuple[str, ProbeResult]] = []
        self.checks = HealthChecks(
            self.prober,
            lambda name, result: self.reports.append((name, result)),
            clock=self.time,
            random=Random(7),
            max_concurrent=max_concurrent,
            call_later=self.time.call_later,
        )

    async def answer(self, result: ProbeResult) -> str:
        """Answers the oldest open probe, lets the answer take effect, and returns whose it was."""
        question = await self.prober.questions.get()
        while question.result.cancelled():
            question = await self.prober.questions.get()
        question.result.set_result(result)
        await settle()
        return question.name

    async def answer_all(self, result: ProbeResult) -> None:
        """Answers every probe that is open."""
        while not self.prober.questions.empty():
            await self.answer(result)

    async def next_round(self, result: ProbeResult, *, seconds: float = 11) -> str:
        """Lets a default interval with its jitter pass and answers the probe that follows."""
        self.time.advance(seconds)
        return await self.answer(result)

    @property
    def states(self) -> list[tuple[str, HealthState.ValueType]]:
        """The reports, without their causes."""
        return [(name, result.state) for name, result in self.reports]


async def settle() -> None:
    """Lets everything run that is ready: tasks and callbacks that wait for nothing from outside the event loop."""
    for _ in range(10):
        await asyncio.sleep(0)


def tcp_endpoint(name: str = "e1", *, state: HealthState.ValueType = STARTING, port: int = 80) -> Endpoint:
    """An endpoint with a TCP check and all defaults."""
    endpoint = Endpoint(name=name, addresses=["192.0.2.1"], port=port)
    endpoint.health_check.tcp.SetInParent()
    endpoint.status.state = state
    return endpoint
