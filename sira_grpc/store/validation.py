"""The rules that every engine's arguments meet before anything is written: keys, operations, frames."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sira_grpc.store.api import MAX_COMMIT_BYTES, MAX_FRAME_BYTES, MAX_OPS, MAX_VALUE_BYTES, Op, Put

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,7}")
_PREFIX = re.compile(r"(?:[A-Za-z0-9_-]{1,64}/){0,8}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

OP_OVERHEAD_BYTES = 256
"""What an operation or a frame weighs in memory beside its key and value: for bounding queues and rings."""


def check_key(key: str, what: str = "key") -> None:
    """Raises ValueError unless key is 1 to 8 segments of `[A-Za-z0-9_-]{1,64}` joined by `/`."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{what} {key[:100]!r}: must be 1 to 8 segments of [A-Za-z0-9_-]{{1,64}} joined by '/'")


def check_prefix(prefix: str) -> None:
    """Raises ValueError unless prefix is empty or whole segments, each followed by `/`."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"prefix {prefix[:100]!r}: must be empty, or segments of a key, each followed by '/'")


def is_digest(text: str) -> bool:
    """Says whether text could be the digest of a blob."""
    return bool(_DIGEST.fullmatch(text))


def check_ops(ops: Sequence[Op]) -> int:
    """Raises ValueError unless the operations may be one commit; returns what they weigh in bytes."""
    if not 1 <= len(ops) <= MAX_OPS:
        raise ValueError(f"ops: a commit has 1 to {MAX_OPS} operations, not {len(ops)}")
    keys: set[str] = set()
    size = 0
    for op in ops:
        check_key(op.key)
        if op.expected is not None and op.expected < 0:
            raise ValueError(f"key {op.key}: expected is {op.expected}; a revision is not negative")
        keys.add(op.key)
        size += len(op.key)
        if isinstance(op, Put):
            # Whatever else there is must not get as far as a group with other callers' commits in it.
            if not isinstance(op.value, bytes):
                raise ValueError(f"key {op.key}: value is {type(op.value).__name__}, not bytes")
            if len(op.value) > MAX_VALUE_BYTES:
                raise ValueError(f"key {op.key}: value has {len(op.value)} bytes, more than {MAX_VALUE_BYTES}")
            size += len(op.value)
    if len(keys) < len(ops):
        raise ValueError("ops: a key may be in a commit only once")
    _check_total("ops", size)
    return size + OP_OVERHEAD_BYTES * len(ops)


def check_frames(partition: str, frames: Sequence[bytes], expected: int | None = None) -> int:
    """Raises ValueError unless the frames may be one append; returns what they weigh in bytes."""
    check_key(partition, "partition")
    if expected is not None and expected < 0:
        raise ValueError(f"expected is {expected}: an offset is not negative")
    if not 1 <= len(frames) <= MAX_OPS:
        raise ValueError(f"frames: an append has 1 to {MAX_OPS} frames, not {len(frames)}")
    if not all(isinstance(frame, bytes) for frame in frames):
        raise ValueError("frames: each must be bytes")
    largest = max(map(len, frames))
    if largest > MAX_FRAME_BYTES:
        raise ValueError(f"frames: a frame has {largest} bytes, more than {MAX_FRAME_BYTES}")
    size = sum(map(len, frames))
    _check_total("frames", size)
    return size + OP_OVERHEAD_BYTES * len(frames)


def _check_total(what: str, size: int) -> None:
    if size > MAX_COMMIT_BYTES:
        raise ValueError(f"{what}: together {size} bytes, more than {MAX_COMMIT_BYTES}")
