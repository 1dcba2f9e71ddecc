"""The client library's client of the kernel that a context names, for commands that stay connected."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sira_grpc.cli import credentials
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira_client import Client, Settings

    from sira_grpc.cli.contexts import Context

T = TypeVar("T")


def of(context: Context, settings: Settings | None = None) -> Client:
    """Makes a client, which connects in `async with`.

    Args:
        context: where the kernel is and how to reach it.
        settings: of the client; None for the defaults.

    Raises:
        ValueError: the address or what secures the connection makes no sense.
        Failure: there are no authorities to verify the kernel with.
    """
    from sira_client import IdentityAgent, IdentityFiles, TlsFiles, connect, connect_insecure

    if context.plaintext:
        return connect_insecure(context.addr, settings=settings)
    if context.identity_dir:
        return connect(context.addr, identity=IdentityFiles(context.identity_dir), settings=settings)
    if context.agent_socket:
        return connect(context.addr, identity=IdentityAgent(context.agent_socket), settings=settings)
    authorities = context.ca_file or ssl.get_default_verify_paths().cafile
    if not authorities:
        raise Failure("ca_file: is missing, and this system has no authorities of its own", ExitCode.USAGE)
    files = TlsFiles(authorities, context.cert_file or None, context.key_file or None)
    bearer = _bearer(context.jwt_file) if context.jwt_file else None
    return connect(context.addr, tls=files, bearer=bearer, settings=settings)


def accepted(make: Callable[..., T], *arguments: Any, **more: Any) -> T:
    """What the client library makes of arguments; its complaint about them is one about the command line.

    Raises:
        Failure: it complains.
    """
    try:
        return make(*arguments, **more)
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from error


def _bearer(path: str) -> Callable[[], Awaitable[str]]:
    """Gives the token that is in a file at the time: somebody else renews it there."""

    async def read() -> str:
        return await asyncio.to_thread(credentials.read_token, path)

    return read
