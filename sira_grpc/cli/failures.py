"""How a command fails: one clear line on stderr, and the exit code that goes with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from sira_grpc.cli.exits import STATUS_EXITS, ExitCode

if TYPE_CHECKING:
    import grpc


class Failure(Exception):
    """A command cannot do what it was asked. The message is for people."""

    def __init__(self, message: str, code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def reporting() -> Iterator[None]:
    """Turns whatever a command fails with into its line on stderr and its exit code. Defects pass through."""
    try:
        yield
    except Failure as failure:
        raise _exit(str(failure), failure.code) from failure
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from interrupt
    except BrokenPipeError as error:
        # The reader, such as `head`, has had enough. Nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.OK) from error
    except Exception as error:
        known = _explain(error)
        if known is None:
            raise
        raise _exit(str(known), known.code) from error


def explain_rpc(error: grpc.RpcError, address: str = "") -> Failure:
    """Says what a failed call means, from its status and the details that the kernel attaches.

    Args:
        error: of a call that has ended.
        address: where the kernel was looked for; empty where it is not known.
    """
    status: Any = error  # a grpc.Call, which the types of grpc do not say of its errors
    name = status.code().name
    message, reason = status.details() or "no explanation", getattr(error, "reason", "")
    for detail in _details(status):
        reason = getattr(detail, "reason", None) or reason
        for violation in getattr(detail, "field_violations", ()):
            if violation.field not in message:
                message += f"; {violation.field}: {violation.description}"
    if name == "UNAVAILABLE" and not reason:
        why = message.rpartition("last error: ")[2].removeprefix("UNKNOWN: ")
        return Failure(f"cannot reach a kernel at {address or 'its address'}: {why}", ExitCode.UNAVAILABLE)
    if name == "DEADLINE_EXCEEDED" and not reason:
        message = "no answer in time; --timeout gives it longer"
    return Failure(f"{message} [{reason or name}]", STATUS_EXITS.get(name, ExitCode.ERROR))


def _explain(error: Exception) -> Failure | None:
    """What is known of an error that no command caught; None for a defect."""
    import grpc

    from sira_grpc.errors import ConfigError, SiraError

    if isinstance(error, grpc.RpcError):
        return explain_rpc(error)
    if isinstance(error, ConfigError):
        return Failure(str(error), ExitCode.USAGE)
    if isinstance(error, SiraError | OSError):
        return Failure(str(error))
    return None


def _details(status: Any) -> Iterator[Any]:
    """The messages of google.rpc.Status that explain the failure, as far as they are known here."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    known = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest)
    rich = rpc_status.from_call(status)
    for packed in rich.details if rich else ():
        for kind in known:
            if packed.Is(kind.DESCRIPTOR):
                detail = kind()
                packed.Unpack(detail)
                yield detail


def _exit(message: str, code: ExitCode) -> typer.Exit:
    typer.echo(f"sira: {message}", err=True)
    return typer.Exit(code)
