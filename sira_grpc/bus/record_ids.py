"""The ids of the records of a partition within its deduplication window."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence

MAX_IDS = 200_000
"""Ids that a partition remembers at most, the newest."""
DIGEST_BYTES = 16


class RecordIds:
    """Ids by their digests, with the offset of each record.

    Attributes:
        window_ns: how long an id is remembered; 0 for not at all.
    """

    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        self._places: dict[bytes, tuple[int, int]] = {}
        self._times: deque[tuple[int, bytes]] = deque()
        self._fresh: list[tuple[bytes, int, int]] = []

    def find(self, record_id: str, now_ns: int) -> int | None:
        """Returns the offset of the record with an id; None if it is not remembered, or the window is over."""
        self._forget(now_ns)
        place = self._places.get(digest(record_id))
        return None if place is None else place[0]

    def note(self, ids: Sequence[str], offsets: Sequence[int], now_ns: int) -> None:
        """Remembers the ids of records, those that are not empty."""
        if not self.window_ns:
            return
        for record_id, offset in zip(ids, offsets, strict=True):
            if record_id:
                key = digest(record_id)
                self._put(key, offset, now_ns)
                self._fresh.append((key, offset, now_ns))
        self._forget(now_ns)

    def recall(self, ids: Sequence[str], offset: int, time_ns: int, now_ns: int) -> None:
        """Remembers the ids of records that were found at opening, those that are not known, if it is not too late."""
        if time_ns < now_ns - self.window_ns:
            return
        fresh = [record_id for record_id in ids if record_id and digest(record_id) not in self._places]
        self.note(fresh, [offset] * len(fresh), time_ns)

    def retract(self, ids: Sequence[str]) -> None:
        """Forgets ids: their records could not be stored."""
        keys = {digest(record_id) for record_id in ids if record_id}
        for key in keys:
            self._places.pop(key, None)
        self._fresh = [entry for entry in self._fresh if entry[0] not in keys]

    def take_fresh(self) -> list[tuple[bytes, int, int]]:
        """Returns digest, offset and time of the ids that came since this was last called, to be stored."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def give_back(self, fresh: list[tuple[bytes, int, int]]) -> None:
        """Puts back what take_fresh() gave: it could not be stored."""
        self._fresh = fresh + self._fresh

    def load(self, digests: bytes, offsets: Sequence[int], times_ns: Sequence[int]) -> None:
        """Takes what was stored."""
        for index, (offset, time_ns) in enumerate(zip(offsets, times_ns, strict=True)):
            self._put(digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES], offset, time_ns)

    def _put(self, key: bytes, offset: int, time_ns: int) -> None:
        self._places[key] = (offset, time_ns)
        self._times.append((time_ns, key))

    def _forget(self, now_ns: int) -> None:
        while self._times and (len(self._times) > MAX_IDS or self._times[0][0] < now_ns - self.window_ns):
            time_ns, key = self._times.popleft()
            place = self._places.get(key)
            if place is not None and place[1] == time_ns:
                del self._places[key]


def digest(record_id: str) -> bytes:
    """Returns what an id is remembered by."""
    return hashlib.sha256(record_id.encode()).digest()[:DIGEST_BYTES]
