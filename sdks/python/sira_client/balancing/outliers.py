"""Finds the endpoints that fail more than the others, and leaves them out for a while.

Source: gRFC A50, https://github.com/grpc/proposal/blob/master/A50-xds-outlier-detection.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from sira.registry.v1.outlier_detection_pb2 import FailurePercentage, OutlierDetection, SuccessRate

from sira_client.durations import seconds

DEFAULT_INTERVAL = 10.0
DEFAULT_BASE_EJECTION = 30.0
DEFAULT_MAX_EJECTION = 300.0
DEFAULT_MAX_PERCENT = 10
DEFAULT_MINIMUM_HOSTS = 5
DEFAULT_FAILURE_THRESHOLD = 85
DEFAULT_FAILURE_VOLUME = 50
DEFAULT_STDEV_FACTOR = 1900
DEFAULT_SUCCESS_VOLUME = 100


def interval_of(policy: OutlierDetection) -> float:
    """How often endpoints are judged, in seconds."""
    return seconds(policy.interval, DEFAULT_INTERVAL)


@dataclass(slots=True)
class _Record:
    """An endpoint: its calls since it was last judged, how often in a row it has been left out, and since when."""

    succeeded: int = 0
    failed: int = 0
    times: int = 0
    ejected_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What an endpoint did within an interval."""

    record: _Record
    volume: int
    success: float  # in percent


class OutlierDetector:
    """Counts calls by endpoint name, and judges when it is asked to: each interval.

    Attributes:
        ejected: the names of those that are left out now.
    """

    def __init__(self) -> None:
        self.ejected: frozenset[str] = frozenset()
        self._records: dict[str, _Record] = {}

    def keep(self, names: Iterable[str]) -> None:
        """Takes in which endpoints there are. The others are forgotten, with what they did."""
        self._records = {name: self._records.get(name) or _Record() for name in names}
        self._tell()

    def count(self, name: str, *, succeeded: bool) -> None:
        """Counts a call that has ended."""
        record = self._records.get(name)
        if record is None:
            return
        if succeeded:
            record.succeeded += 1
        else:
            record.failed += 1

    def judge(self, policy: OutlierDetection, now_ns: int) -> bool:
        """Judges the calls since the last time. Returns whether `ejected` has changed.

        Args:
            policy: what it goes by.
            now_ns: Unix nanoseconds.
        """
        verdicts = [self._close(record) for record in self._records.values()]
        if policy.HasField("success_rate"):
            self._eject(_unsuccessful(policy.success_rate, verdicts), policy, now_ns)
        if policy.HasField("failure_percentage"):
            self._eject(_failing(policy.failure_percentage, verdicts), policy, now_ns)
        base = seconds(policy.base_ejection_time, DEFAULT_BASE_EJECTION)
        longest = max(base, seconds(policy.max_ejection_time, DEFAULT_MAX_EJECTION))
        for record in self._records.values():
            if record.ejected_ns is None:
                record.times = max(0, record.times - 1)
            elif now_ns - record.ejected_ns >= min(base * record.times, longest) * 1e9:
                record.ejected_ns = None
        return self._tell()

    @staticmethod
    def _close(record: _Record) -> _Verdict:
        """What an endpoint did; its counts begin anew."""
        volume = record.succeeded + record.failed
        verdict = _Verdict(record, volume, 100.0 * record.succeeded / volume if volume else 100.0)
        record.succeeded = record.failed = 0
        return verdict

    def _eject(self, records: Iterable[_Record], policy: OutlierDetection, now_ns: int) -> None:
        """Leaves endpoints out, as long as not too many are."""
        allowed = policy.max_ejection_percent or DEFAULT_MAX_PERCENT
        out = sum(record.ejected_ns is not None for record in self._records.values())
        for record in records:
            if out and 100.0 * out / len(self._records) >= allowed:
                return
            if record.ejected_ns is None:
                record.ejected_ns = now_ns
                record.times += 1
                out += 1

    def _tell(self) -> bool:
        ejected = frozenset(name for name, record in self._records.items() if record.ejected_ns is not None)
        changed, self.ejected = ejected != self.ejected, ejected
        return changed


def _unsuccessful(policy: SuccessRate, verdicts: Sequence[_Verdict]) -> list[_Record]:
    """Those whose share of successful calls is too far below that of the others."""
    judged = [v for v in verdicts if v.volume >= (policy.request_volume or DEFAULT_SUCCESS_VOLUME)]
    if len(judged) < (policy.minimum_hosts or DEFAULT_MINIMUM_HOSTS):
        return []
    rates = [v.success for v in judged]
    lowest = fmean(rates) - pstdev(rates) * (policy.stdev_factor or DEFAULT_STDEV_FACTOR) / 1000
    return [v.record for v in judged if v.success < lowest]


def _failing(policy: FailurePercentage, verdicts: Sequence[_Verdict]) -> list[_Record]:
    """Those of which too large a share of calls fails."""
    judged = [v for v in verdicts if v.volume >= (policy.request_volume or DEFAULT_FAILURE_VOLUME)]
    if len(judged) < (policy.minimum_hosts or DEFAULT_MINIMUM_HOSTS):
        return []
    threshold = policy.threshold or DEFAULT_FAILURE_THRESHOLD
    return [v.record for v in judged if 100.0 - v.success >= threshold]
