"""The exit codes of the `sira` command, and which gRPC status ends in which."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell is told. docs/cli.md documents each."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    REFUSED = 5
    CONFLICT = 6
    DEADLINE = 7
    LIMIT = 8
    INTERRUPTED = 130


STATUS_EXITS = {
    "INVALID_ARGUMENT": ExitCode.USAGE,
    "NOT_FOUND": ExitCode.NOT_FOUND,
    "UNAVAILABLE": ExitCode.UNAVAILABLE,
    "PERMISSION_DENIED": ExitCode.REFUSED,
    "UNAUTHENTICATED": ExitCode.REFUSED,
    "ALREADY_EXISTS": ExitCode.CONFLICT,
    "ABORTED": ExitCode.CONFLICT,
    "FAILED_PRECONDITION": ExitCode.CONFLICT,
    "OUT_OF_RANGE": ExitCode.CONFLICT,
    "DEADLINE_EXCEEDED": ExitCode.DEADLINE,
    "RESOURCE_EXHAUSTED": ExitCode.LIMIT,
}
"""By the name of the gRPC status. Any other ends in ERROR."""
