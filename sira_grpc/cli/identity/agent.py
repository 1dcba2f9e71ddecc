"""`sira identity agent`: the agent of a host, which gives programs their identities and keeps them renewed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import logs, spiffe_names
from sira_grpc.cli.commands import printing
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.first_start import AGENT_DIRECTORY
from sira_grpc.cli.identity.join import Name, Token, TokenFile, explained, read_secret
from sira_grpc.cli.output import Format, Printer, say

if TYPE_CHECKING:
    from sira_grpc.agent import Agent, AgentConfig, Joining
    from sira_grpc.config import LogConfig


@printing
def agent(
    printer: Printer,
    config_file: Annotated[Path, typer.Option("--config", "-c", help="The agent's configuration, a YAML file.")],
    directory: Annotated[
        Path, typer.Option("--dir", help="The agent's own identity directory; made if missing.")
    ] = Path(AGENT_DIRECTORY),
    join: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where to join if there is no identity in --dir that counts."),
    ] = None,
    token: Token = None,
    token_file: TokenFile = None,
    name: Name = None,
) -> None:
    """Run the identity agent of this host until SIGTERM or Ctrl-C.

    It keeps its own identity and those of the configuration renewed, on a Unix socket and in files. A join token is
    needed at the first start only. SIRA_LOG_LEVEL and SIRA_LOG_FORMAT set its log.
    """
    from sira_grpc.agent import load

    started = time.monotonic()
    config = load(config_file)
    joining = _joining(join, token, token_file, name)
    logs.configure(_log_config(os.environ))
    with explained(join or config.kernel[0]):
        asyncio.run(_run(config, directory, joining, printer, started))
    say("stopped")


def _joining(address: str | None, token: str | None, file: Path | None, name: str | None) -> Joining | None:
    """By what right the agent joins; None if it must have an identity."""
    if address is None:
        if token is not None or file is not None:
            raise Failure("--join: is missing; a token is for joining", ExitCode.USAGE)
        return None
    from sira_grpc.agent import Joining

    secret = read_secret(token, file, os.environ)
    wanted = spiffe_names.path(name or spiffe_names.own_node(), "default")
    # Without a secret, as at a later start, what is in the directory must do.
    return None if secret is None else Joining(address, secret, wanted)


async def _run(config: AgentConfig, directory: Path, joining: Joining | None, printer: Printer, started: float) -> None:
    from sira_grpc.agent import Agent

    async with Agent(config, directory, joining=joining) as running:
        ending = asyncio.ensure_future(running.run_until_signal())
        await asyncio.sleep(0)  # it listens for signals from here on, so whoever reads the line may send one
        _tell(running, printer, time.monotonic() - started)
        await ending
        failed, failure = running.failed, running.failure
    if failed:
        code = ExitCode.REFUSED if failure else ExitCode.ERROR
        raise Failure(failure or "a part of the agent has failed; its log says which", code)


def _tell(running: Agent, printer: Printer, seconds: float) -> None:
    """Prints the ready line."""
    socket, directory = running.config.socket, str(running.directory)
    if printer.format is not Format.TABLE:
        ready = {"identity": running.identity, "directory": directory, "secondsToStart": round(seconds, 3)}
        printer.next_data({**ready, **({"socket": f"unix:{socket}"} if socket else {})})
        return
    parts = [f"sira agent ready as {running.identity} in {seconds:.2f} s", f"its identity in {directory}"]
    parts += [f"Workload API on unix:{socket}"] if socket else []
    print("; ".join(parts), flush=True)


def _log_config(environment: Mapping[str, str]) -> LogConfig:
    from sira_grpc.config import load

    return load(None, {name: value for name, value in environment.items() if name.startswith("SIRA_LOG_")}).log
