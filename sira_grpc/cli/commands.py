"""Makes commands of functions: gives them the global options, hands them what these say, and reports their failures."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from sira_grpc.cli import contexts, durations
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure, reporting
from sira_grpc.cli.output import Format, Printer
from sira_grpc.cli.session import Session

P = ParamSpec("P")

PANEL = "Connection and output"
Addr = Annotated[
    str | None,
    typer.Option(help="host:port or unix:path of the kernel. [SIRA_ADDR]", rich_help_panel=PANEL),
]
ContextName = Annotated[
    str | None,
    typer.Option("--context", help="Name of a context; see `sira context`. [SIRA_CONTEXT]", rich_help_panel=PANEL),
]
Output = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="How to print. Default: table. [SIRA_OUTPUT]", rich_help_panel=PANEL),
]
Timeout = Annotated[
    str | None,
    typer.Option(help="How long to wait for an answer. Default: 10s. [SIRA_TIMEOUT]", rich_help_panel=PANEL),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace of short names. Default: the context's, or `default`."),
]


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """The options that every command takes, before or after its name; what is None was not given."""

    addr: str | None = None
    context: str | None = None
    output: Format | None = None
    timeout: str | None = None

    def over(self, others: GlobalOptions) -> GlobalOptions:
        """Returns these options, and of the others those that are not given here."""
        return GlobalOptions(
            self.addr or others.addr,
            self.context or others.context,
            self.output or others.output,
            self.timeout or others.timeout,
        )

    def printer(self, environment: Mapping[str, str]) -> Printer:
        """Returns the printer that was asked for.

        Raises:
            Failure: SIRA_OUTPUT names none.
        """
        name = self.output or environment.get("SIRA_OUTPUT") or Format.TABLE
        if name not in list(Format):
            raise Failure(f"SIRA_OUTPUT: {name!r} is none of {', '.join(Format)}", ExitCode.USAGE)
        return Printer(Format(name))

    def session(self, environment: Mapping[str, str]) -> Session:
        """Returns the session that was asked for.

        Raises:
            Failure: an option, a variable or the file of contexts cannot be used.
        """
        given = self.timeout or environment.get("SIRA_TIMEOUT")
        timeout = durations.parse(given or "10s", "--timeout").total_seconds()
        if not timeout:
            raise Failure("--timeout: must be above 0", ExitCode.USAGE)
        context = contexts.choose(self.addr, self.context, environment)
        return Session(context, self.printer(environment), timeout, patience=timeout if given else None)


def connected(command: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Makes a command of a function that takes a Session first; the command takes the global options instead."""
    return _with_session(command, {"addr": Addr, "context": ContextName, "output": Output, "timeout": Timeout})


def addressed(command: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Makes a command as connected does, of a function that an argument tells where to connect to."""
    return _with_session(command, {"context": ContextName, "output": Output, "timeout": Timeout})


def printing(command: Callable[Concatenate[Printer, P], None]) -> Callable[..., None]:
    """Makes a command of a function that takes a Printer first; the command takes the option for it instead."""

    def run(options: GlobalOptions, **arguments: Any) -> None:
        command(options.printer(os.environ), **arguments)  # type: ignore[call-arg]  # as above

    return _command(command, run, {"output": Output})


def _with_session(command: Callable[Concatenate[Session, P], None], shared: Mapping[str, Any]) -> Callable[..., None]:
    def run(options: GlobalOptions, **arguments: Any) -> None:
        with options.session(os.environ) as session:
            command(session, **arguments)  # type: ignore[call-arg]  # typer passes what the signature names

    return _command(command, run, shared)


def _command(function: Callable[..., None], run: Callable[..., None], shared: Mapping[str, Any]) -> Callable[..., None]:
    """A function for typer, with the function's own parameters but the first, then the shared ones."""

    def command(ctx: typer.Context, **arguments: Any) -> None:
        with reporting():
            options = GlobalOptions(**{name: arguments.pop(name) for name in shared})
            run(options.over(ctx.find_root().obj), **arguments)

    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context), *own]
    parameters += [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in shared.items()]
    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer looks at
    return command
