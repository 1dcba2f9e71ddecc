"""The conflicts that every engine reports in the same words: an entry or a partition is not as expected."""

from __future__ import annotations

from sira_grpc.errors import Conflict


def entry_conflict(key: str, expected: int | None, found: int) -> Conflict:
    """Returns the error for an entry whose revision is not the expected one."""
    return Conflict(
        f"key {key}: expected revision {expected}, found {found}",
        metadata={"key": key, "expected": str(expected), "found": str(found)},
    )


def next_conflict(partition: str, expected: int | None, following: int) -> Conflict:
    """Returns the error for a partition whose next offset is not the expected one."""
    return Conflict(
        f"partition {partition}: expected offset {expected} to be next, but {following} is",
        metadata={"partition": partition, "expected": str(expected), "next": str(following)},
    )
