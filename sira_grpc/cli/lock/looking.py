"""`sira lock list` and `get`: who has a lock, and who waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, durations, names
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.output import Column, Format
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.cluster.v1.lock_pb2 import Lock, LockHolder, LockWaiter


def _who(claim: LockHolder | LockWaiter) -> str:
    return cells.text(claim.label or claim.owner)


COLUMNS: Sequence[Column[Lock]] = (
    ("NAME", lambda lock: names.short(lock.name)),
    ("HELD", lambda lock: f"{sum(holder.permits for holder in lock.holders)} of {lock.capacity}"),
    ("HOLDER", lambda lock: _who(lock.holders[0]) + (", ..." if len(lock.holders) > 1 else "")),
    ("TOKEN", lambda lock: str(lock.holders[-1].token)),
    ("WAITING", lambda lock: str(len(lock.waiters))),
)
DETAILS: Sequence[Column[Lock]] = (
    ("NAME", lambda lock: lock.name),
    COLUMNS[1],
    ("REVISION", lambda lock: str(lock.revision)),
)
HOLDERS: Sequence[Column[LockHolder]] = (
    ("HOLDER", _who),
    ("OWNER", lambda holder: cells.text(holder.owner)),
    ("TOKEN", lambda holder: str(holder.token)),
    ("PERMITS", lambda holder: str(holder.permits)),
    ("TTL", lambda holder: durations.exact(holder.ttl.ToTimedelta())),
    ("SINCE", lambda holder: cells.age(holder.acquire_time)),
    ("MEMBER", lambda holder: names.own(holder.member)),
)
WAITERS: Sequence[Column[LockWaiter]] = (
    ("WAITER", _who),
    ("OWNER", lambda waiter: cells.text(waiter.owner)),
    ("PERMITS", lambda waiter: str(waiter.permits)),
    ("SINCE", lambda waiter: cells.age(waiter.enqueue_time)),
)


@connected
def list_locks(session: Session, namespace: Namespace = None) -> None:
    """List the locks of a namespace that somebody has, by name."""
    from sira.cluster.v1.lock_service_pb2 import ListLocksRequest

    request = ListLocksRequest(parent=names.namespace_name(session.namespace(namespace)))
    session.printer.many(session.pages(session.locks.ListLocks, request, "locks"), COLUMNS)


@connected
def get_lock(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name of the lock, such as `migrate`.")],
    namespace: Namespace = None,
) -> None:
    """Show who has a lock, with the tokens, and who waits, in the order of their turns."""
    from sira.cluster.v1.lock_service_pb2 import GetLockRequest

    request = GetLockRequest(name=names.lock_name(name, session.namespace(namespace)))
    lock = session.call(session.locks.GetLock, request).lock
    session.printer.one(lock, DETAILS)
    if session.printer.format is Format.TABLE:
        print()
        session.printer.rows(lock.holders, HOLDERS)
        if lock.waiters:
            print()
            session.printer.rows(lock.waiters, WAITERS)
