"""`sira lock release`: gives a lock back with its key."""

from __future__ import annotations

from typing import Annotated

import typer

from sira_grpc.cli.commands import connected
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session


@connected
def release(
    session: Session, key: Annotated[str, typer.Argument(help="The key, as `acquired` of the API has told it.")]
) -> None:
    """Release a lock, or leave its queue. What is gone already is no error."""
    from sira.cluster.v1.lock_service_pb2 import ReleaseLockRequest

    session.call(session.locks.ReleaseLock, ReleaseLockRequest(lock_key=key))
    say("released")
