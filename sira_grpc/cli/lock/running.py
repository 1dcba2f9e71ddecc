"""`sira lock run`: runs a command while a lock is held."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import client, durations, names
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira_client import Client
    from sira_client.locks import Lock

GRACE_SECONDS = 5.0
"""How long a command has to end after SIGTERM, before SIGKILL."""
SIGNALLED = 128
"""Exit code of a command that a signal has ended, less the number of the signal: as shells have it."""


@connected
def run(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name of the lock, such as `migrate`.")],
    command: Annotated[list[str], typer.Argument(help="What to run, after `--`.")],
    namespace: Namespace = None,
    capacity: Annotated[int, typer.Option(min=1, max=1000, help="Permits in all: more than 1 for a semaphore.")] = 1,
    permits: Annotated[int, typer.Option(min=1, max=1000, help="How many of them to acquire.")] = 1,
    ttl: Annotated[str, typer.Option(help="How long it is kept after the last sign of life.")] = "10s",
    wait: Annotated[str | None, typer.Option(help="How long to wait for it; 0: not at all. Default: for ever.")] = None,
    label: Annotated[str, typer.Option(help="What to be called, for people. Default: the command.")] = "",
) -> None:
    """Acquire a lock, run a command, and release the lock; end the command if the lock is lost.

    The command is told its token in SIRA_FENCING_TOKEN, and in SIRA_FENCING what the metadata `sira-fencing` of a call
    is to be. The exit code is that of the command; 6 if the lock was not to be had in time, or was lost.
    """
    import grpc

    terms: dict[str, Any] = {
        "permits": permits,
        "ttl": durations.parse(ttl, "--ttl").total_seconds(),
        "wait": None if wait is None else durations.parse(wait, "--wait").total_seconds(),
        "label": label or command[0][:256],
    }
    full = names.lock_name(name, session.namespace(namespace))

    async def work(kernel: Client) -> int:
        async with client.accepted(kernel.locks().semaphore, full, capacity, **terms) as held:
            return await _execute(command, held)

    try:
        _ = session.credentials  # what cannot be used is told before it is tried again and again
        code = asyncio.run(_connected(session, work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = ExitCode.INTERRUPTED
    except grpc.RpcError as error:
        raise session.explain(error) from error
    raise typer.Exit(code)


async def _connected(session: Session, work: Callable[[Client], Awaitable[int]]) -> int:
    """Does the work with a client; SIGTERM and Ctrl-C cancel it, and it ends in good order."""
    from sira_client import Settings

    this = asyncio.current_task()
    if this is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    settings = Settings(default_timeout=session.timeout)
    async with client.accepted(client.of, session.context, settings) as kernel:
        return await work(kernel)


async def _execute(command: Sequence[str], held: Lock) -> int:
    """Runs the command, and returns its exit code.

    Raises:
        Failure: the lock was lost, and the command ended.
    """
    ((_, fence),) = held.metadata
    environment = {**os.environ, "SIRA_FENCING_TOKEN": str(held.token), "SIRA_FENCING": fence}
    # A group of its own, so that whatever the command starts can be ended with it.
    starting = asyncio.create_task(asyncio.create_subprocess_exec(*command, env=environment, process_group=0))
    losing = asyncio.create_task(held.lost.wait())
    try:
        # It may run before we know of it: what is interrupted meanwhile has to be ended all the same.
        process = await asyncio.shield(starting)
        ending = asyncio.create_task(process.wait())
        await asyncio.wait({ending, losing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        losing.cancel()
        process = await starting
        await _end(process)
    if held.lost.is_set():
        raise Failure(f"the lock was lost, and {command[0]} was ended: {held.error}", ExitCode.CONFLICT)
    code = await process.wait()
    return SIGNALLED - code if code < 0 else code


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends a process, if it has not ended, with all that it has started."""
    if process.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        say(f"ending the command with {number.name}")
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await process.wait()
                return
