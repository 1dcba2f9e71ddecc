"""What one caller may use: open streams, calls at the same time, and calls begun a second."""

from __future__ import annotations

from sira_grpc.clock import Clock
from sira_grpc.config import LimitsConfig
from sira_grpc.errors import LimitExceeded
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.access import PEERS
from sira_grpc.rpc.interceptors.interceptor import Interceptor

MAX_IDLE_CALLERS = 10_000
"""Callers without a call under way whose rate is remembered; the one that was idle longest is forgotten first."""


class _Usage:
    """What a caller uses."""

    __slots__ = ("calls", "refilled", "streams", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.streams = 0
        self.calls = 0
        self.tokens = tokens
        self.refilled = now


class Limits(Interceptor):
    """Counts what each caller uses and refuses what is over its limits. The rate is a token bucket.

    A forwarded call counts at both members, for its caller. What members ask for themselves does not count.
    """

    def __init__(self, config: LimitsConfig, clock: Clock) -> None:
        self._config = config
        self._rate = config.calls_per_second_per_caller
        self._burst = float(config.effective_burst)
        self._clock = clock
        self._busy: dict[str, _Usage] = {}
        # In the order in which they became idle. Empty without a rate: then there is nothing to remember of them.
        self._idle: dict[str, _Usage] = {}

    @property
    def callers(self) -> int:
        """Callers that are remembered."""
        return len(self._busy) + len(self._idle)

    def enter(self, call: Call) -> None:
        """Counts the call, or refuses it."""
        if call.method.service == PEERS:
            return
        caller = call.caller
        usage = self._busy.get(caller)
        if usage is None:
            usage = self._idle.pop(caller, None) or _Usage(self._burst, self._clock.monotonic() if self._rate else 0.0)
            try:
                self._admit(call, usage)
            except LimitExceeded:
                self._rest(caller, usage)
                raise
            self._busy[caller] = usage
        else:
            self._admit(call, usage)
        call.usage = usage

    def exit(self, call: Call) -> None:
        """Gives back what the call used."""
        usage: _Usage | None = call.usage
        if usage is None:
            return
        if call.method.streams:
            usage.streams -= 1
        else:
            usage.calls -= 1
        if not (usage.streams or usage.calls):
            del self._busy[call.caller]
            self._rest(call.caller, usage)

    def _admit(self, call: Call, usage: _Usage) -> None:
        if call.method.streams:
            if usage.streams >= self._config.max_streams_per_caller:
                raise self._exceeded("max_streams_per_caller", self._config.max_streams_per_caller, call, 1.0)
        elif usage.calls >= self._config.max_calls_per_caller:
            raise self._exceeded("max_calls_per_caller", self._config.max_calls_per_caller, call, 1.0)
        if self._rate:
            self._take_token(call, usage)
        if call.method.streams:
            usage.streams += 1
        else:
            usage.calls += 1

    def _take_token(self, call: Call, usage: _Usage) -> None:
        now = self._clock.monotonic()
        usage.tokens = min(self._burst, usage.tokens + (now - usage.refilled) * self._rate)
        usage.refilled = now
        if usage.tokens < 1:
            raise self._exceeded("calls_per_second_per_caller", self._rate, call, (1 - usage.tokens) / self._rate)
        usage.tokens -= 1

    def _rest(self, caller: str, usage: _Usage) -> None:
        if self._rate:
            self._idle[caller] = usage
            if len(self._idle) > MAX_IDLE_CALLERS:
                del self._idle[next(iter(self._idle))]

    @staticmethod
    def _exceeded(limit: str, value: int, call: Call, retry_after: float) -> LimitExceeded:
        return LimitExceeded(
            f"{call.caller} is over limits.{limit}, {value}",
            metadata={"limit": limit, "value": str(value), "caller": call.caller},
            retry_after=retry_after,
        )
