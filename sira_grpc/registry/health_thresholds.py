"""Rise and fall thresholds: when a run of answers settles the state of an endpoint."""

from __future__ import annotations

from sira.registry.v1.health_check_pb2 import HealthCheck, HealthState

DEFAULT_RISE = 1
DEFAULT_FALL = 3

_KNOWN = frozenset({HealthState.HEALTH_STATE_SERVING, HealthState.HEALTH_STATE_NOT_SERVING})


class Thresholds:
    """The settled state of one endpoint and the run of answers that speak against it.

    From SERVING to NOT_SERVING it takes `fall` consecutive answers, and `rise` back. Any other change counts at once:
    the first answer after STARTING or UNKNOWN, and that the state cannot be told.

    Args:
        rise: consecutive good answers, at least 1.
        fall: consecutive bad answers, at least 1.
        state: what is settled already. DRAINING and unspecified are not what a check says and count as STARTING.
    """

    __slots__ = ("_candidate", "_fall", "_rise", "_streak", "state")

    def __init__(self, *, rise: int, fall: int, state: HealthState.ValueType) -> None:
        settled = state in _KNOWN or state == HealthState.HEALTH_STATE_UNKNOWN
        self.state = state if settled else HealthState.HEALTH_STATE_STARTING
        self._rise = rise
        self._fall = fall
        self._candidate = self.state
        self._streak = 0

    @classmethod
    def of(cls, check: HealthCheck, state: HealthState.ValueType) -> Thresholds:
        """Returns the thresholds of a check, with its defaults, going on from a settled state."""
        return cls(rise=check.rise or DEFAULT_RISE, fall=check.fall or DEFAULT_FALL, state=state)

    def take(self, state: HealthState.ValueType, *, at_once: bool = False) -> bool:
        """Takes one answer and says whether it changed the settled state. With at_once, one answer is enough."""
        if state == self.state:
            self._candidate, self._streak = state, 0
            return False
        if state != self._candidate:
            self._candidate, self._streak = state, 0
        self._streak += 1
        if not at_once and self._streak < self._needed(state):
            return False
        self.state, self._streak = state, 0
        return True

    def _needed(self, state: HealthState.ValueType) -> int:
        if self.state not in _KNOWN or state not in _KNOWN:
            return 1
        return self._rise if state == HealthState.HEALTH_STATE_SERVING else self._fall
