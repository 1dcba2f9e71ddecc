"""Which dead letters a filter chooses."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from google.protobuf.timestamp_pb2 import Timestamp
from sira.bus.v1.dead_letter_pb2 import DeadLetter, DeadLetterReason
from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter

_ANY_REASON = DeadLetterReason.DEAD_LETTER_REASON_UNSPECIFIED


class Choice:
    """Those to which everything applies that is set in a filter."""

    def __init__(self, wanted: DeadLetterFilter) -> None:
        self._ids = sorted(set(wanted.ids))
        self._key = wanted.key
        self._headers = dict(wanted.headers)
        self._reason = wanted.reason
        self._topic = wanted.topic
        self._after = _moment(wanted.after) if wanted.HasField("after") else None
        self._before = _moment(wanted.before) if wanted.HasField("before") else None
        limits = (self._after, self._before)
        said = self._key or self._headers or self._reason != _ANY_REASON or self._topic
        self.any_content = not said and limits == (None, None)
        """Whether it does not matter what is in them: so those that are damaged are among them."""

    def spans(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yields the ranges of [first, end) that have the ids in question, in order."""
        if not self._ids:
            yield first, end
            return
        start = stop = first
        for wanted in self._ids[bisect_left(self._ids, first) : bisect_left(self._ids, end)]:
            if wanted != stop:
                if start < stop:
                    yield start, stop
                start = wanted
            stop = wanted + 1
        if start < stop:
            yield start, stop

    def takes(self, letter: DeadLetter) -> bool:
        """Whether a dead letter that has one of these ids is chosen."""
        if self.any_content:
            return True
        record = letter.record
        if self._key and record.key != self._key:
            return False
        if self._reason not in (_ANY_REASON, letter.reason) or self._topic not in ("", letter.topic):
            return False
        moment = _moment(letter.dead_letter_time)
        if self._after is not None and moment < self._after:
            return False
        if self._before is not None and moment >= self._before:
            return False
        headers = record.attributes.headers
        return all(headers.get(name) == value for name, value in self._headers.items())


def _moment(time: Timestamp) -> tuple[int, int]:
    """Puts times in order, those too that no clock shows."""
    return time.seconds, time.nanos
