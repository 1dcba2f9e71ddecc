"""How many hold locks and elections, wait for them, and have let them run out, as metrics."""

from __future__ import annotations

from collections.abc import Callable

from sira.cluster.internal.v1.lock_record_pb2 import LockRecord

from sira_grpc.cluster import lock_names
from sira_grpc.cluster.locking import Locking
from sira_grpc.telemetry import Telemetry

_KINDS = {lock_names.LOCKS: "lock", lock_names.ELECTIONS: "election"}


def expose(locking: Locking, telemetry: Telemetry) -> None:
    """Has the exporters read what this member sees of locks and elections."""
    telemetry.gauge(
        "sira.locks.held",
        lambda: _by_kind(locking, lambda record: len(record.holders)),
        unit="{claim}",
        description="Locks, shares of semaphores and elections that somebody has.",
    )
    telemetry.gauge(
        "sira.locks.waiting",
        lambda: _by_kind(locking, lambda record: len(record.waiters)),
        unit="{claim}",
        description="Who waits for them.",
    )
    telemetry.gauge(
        "sira.locks.expired",
        lambda: locking.expired,
        unit="{claim}",
        description="Claims that were ended here since the start because nobody renewed them.",
    )


def _by_kind(locking: Locking, count: Callable[[LockRecord], int]) -> list[tuple[float, dict[str, str]]]:
    counts = dict.fromkeys(_KINDS, 0)
    for entry in tuple(locking.view.entries.values()):  # exporters read in threads of their own
        prefix = lock_names.LOCKS if entry.key.startswith(lock_names.LOCKS) else lock_names.ELECTIONS
        counts[prefix] += count(entry.record)
    return [(counts[prefix], {"kind": kind}) for prefix, kind in _KINDS.items()]
