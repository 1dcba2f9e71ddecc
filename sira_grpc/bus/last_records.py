"""Which records of a partition are the last ones of their keys."""

from __future__ import annotations

import hashlib

from sira_grpc.bus.stored import Held

MAX_KEPT_KEY = 31
"""Keys longer than this are remembered by their SHA-256, which no shorter key is equal to."""


class LastRecords:
    """The keys of frames, and the last frame that each is in. About 150 bytes a key.

    Frames for one subscription alone are not looked at: they hold what was there before, and others never see them.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}

    def note(self, held: Held) -> None:
        """Takes the next frame, in the order of the partition."""
        if held.broken or held.only_for:
            return
        base = held.base
        self._last.update((_short(key), base) for key in held.reader.keys if key)

    def kept(self, held: Held, *, now_ns: int, tombstones_before_ns: int) -> list[int]:
        """Returns the places of those records of a frame that nothing supersedes, in order.

        Left out are records that have expired and, if the frame was published before a time, those that delete keys.
        """
        if held.only_for:
            return list(range(held.count))
        reader = held.reader
        sizes = reader.frame.payload_sizes
        expired = set(held.expired(now_ns))
        forget = held.publish_ns < tombstones_before_ns
        seen: set[bytes] = set()
        kept: list[int] = []
        for place in reversed(range(held.count)):
            key = reader.key(place)
            if key:
                short = _short(key)
                if short in seen or self._last.get(short, held.base) != held.base:
                    continue
                seen.add(short)
                if forget and not sizes[place]:
                    continue
            if place not in expired:
                kept.append(place)
        kept.reverse()
        return kept


def _short(key: bytes) -> bytes:
    return key if len(key) <= MAX_KEPT_KEY else hashlib.sha256(key).digest()
