"""Runs what a command does with the client library's bus, until it is done or interrupted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sira_grpc.cli import client
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira_client.bus import Bus

Work = Callable[["Bus"], Awaitable[None]]


def run(session: Session, namespace: str | None, work: Work) -> bool:
    """Does the work, and returns whether it came to its end: Ctrl-C and SIGTERM cancel it, and it ends in good order.

    Args:
        session: the kernel to talk to.
        namespace: of short names; None for that of the session.
        work: what to do.

    Raises:
        Failure: the kernel refused, or is not there.
    """
    import grpc

    try:
        _ = session.credentials  # what cannot be used is told before it is tried again and again
        asyncio.run(_run(session, namespace, work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return False
    except grpc.RpcError as error:
        raise session.explain(error) from error
    return True


async def _run(session: Session, namespace: str | None, work: Work) -> None:
    from sira_client import Settings

    this = asyncio.current_task()
    if this is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    settings = Settings(default_timeout=session.timeout)
    async with client.accepted(client.of, session.context, settings) as kernel:
        await work(client.accepted(kernel.bus, namespace=session.namespace(namespace)))
