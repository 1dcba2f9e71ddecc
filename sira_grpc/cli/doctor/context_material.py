"""The contexts of a user: whether what they name is there, counts, and is closed to others."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from sira_grpc.cli import contexts, credentials
from sira_grpc.cli.contexts import Context, ContextFile
from sira_grpc.cli.doctor import directories, files
from sira_grpc.cli.doctor.findings import Finding, error
from sira_grpc.cli.failures import Failure


def found(environment: Mapping[str, str]) -> tuple[dict[str, Context], list[Finding]]:
    """Returns the contexts by what they are called, also that of the environment alone; and what keeps them from it."""
    try:
        file = ContextFile.load(contexts.file_path(environment))
    except Failure as problem:
        return {}, [error(contexts.file_path(environment), str(problem), "set it right, or delete it")]
    known = {f"context {name}": contexts.expanded(context) for name, context in sorted(file.contexts.items())}
    own = contexts.expanded(contexts.with_variables(Context(), environment))
    return ({**known, "the environment": own} if own.secured else known), []


def inspect(name: str, context: Context, now: float) -> Iterator[Finding]:
    """Yields what is wrong with what a context names, but for its identity directory.

    Args:
        name: what the context is called.
        context: with its paths expanded.
        now: Unix seconds.
    """
    problem = context.check()
    if problem:
        yield error(name, problem, "set it right: sira context set")
        return
    if context.cert_file:
        yield from files.pair(Path(context.cert_file), Path(context.key_file), now)
    if context.ca_file:
        yield from files.authorities(Path(context.ca_file), now)
    if context.jwt_file:
        yield from _token(context.jwt_file)
    if context.agent_socket:
        yield from _agent(context.agent_socket)


def inspect_directories(known: Mapping[str, Context], more: list[Path], now: float) -> Iterator[Finding]:
    """Yields what is wrong with identity directories: those of contexts, and others. Each is looked at once."""
    paths = [Path(context.identity_dir) for context in known.values() if context.identity_dir]
    for path in {path.absolute(): path for path in (*more, *paths)}.values():
        yield from directories.inspect(path, now)


def _token(path: str) -> Iterator[Finding]:
    try:
        credentials.read_token(path)
        yield from files.secrecy(Path(path))
    except Failure as problem:
        yield error(path, str(problem), "have another issued: sira identity jwt")


def _agent(given: str) -> Iterator[Finding]:
    path = given.removeprefix("unix://") if given.startswith("unix:///") else given.removeprefix("unix:")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError as problem:
            yield error(path, f"no agent answers: {problem.strerror or problem}", "start it: sira identity agent")
