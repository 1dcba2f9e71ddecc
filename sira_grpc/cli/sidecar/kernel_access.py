"""How a sidecar and its Envoy get to the kernel: addresses, and the identity that proves who they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from sira_grpc.cli import client
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira_client import Client, IdentitySource

    from sira_grpc.agent import Agent, Joining
    from sira_grpc.cli.contexts import Context


@dataclass(frozen=True, slots=True)
class KernelAccess:
    """What was given.

    Attributes:
        kernel: addresses of members, the first one for the client.
        source: of the identity; None for plaintext, which goes to loopback only.
        directory: that an agent in this process is to keep the identity in; None for none.
        joining: by what right it joins, if there is no identity in the directory.
        service: resource name of the service whose identity it must be.
    """

    kernel: tuple[str, ...]
    source: IdentitySource | None
    service: str
    directory: Path | None = None
    joining: Joining | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Agent | None]:
        """Has the identity followed, and kept if that is up to this process. Yields who keeps it.

        Raises:
            Failure: there is no identity, or it is another's.
            IdentityLost, KernelUnreachable, KernelNotTrusted: it cannot join.
            ConfigError: the directory cannot be used.
        """
        async with AsyncExitStack() as stack:
            keeper = None
            if self.directory is not None:
                from sira_grpc.agent import Agent, AgentConfig

                config = AgentConfig(kernel=self.kernel)
                keeper = await stack.enter_async_context(Agent(config, self.directory, joining=self.joining))
            if self.source is not None:
                await self._follow(stack, self.source)
            yield keeper

    @property
    def trust_domain(self) -> str:
        """Of the identity, once it is followed; empty for plaintext."""
        return self.source.current.trust_domain if self.source is not None else ""

    def client(self) -> Client:
        """Makes a client of the kernel.

        Raises:
            Failure: an address makes no sense.
        """
        from sira_client import connect, connect_insecure

        if self.source is None:
            return client.accepted(connect_insecure, self.kernel)
        return client.accepted(connect, self.kernel, identity=self.source)

    async def _follow(self, stack: AsyncExitStack, source: IdentitySource) -> None:
        try:
            await stack.enter_async_context(source)
        except (OSError, ValueError, grpc.aio.AioRpcError) as error:
            raise Failure(f"{source} gives no identity: {error}", ExitCode.REFUSED) from error
        spiffe_id = source.current.spiffe_id
        _, namespace, _, name = self.service.split("/")
        if not spiffe_id.endswith(f"/ns/{namespace}/svc/{name}"):
            raise Failure(
                f"--service: the identity is {spiffe_id or 'no SPIFFE ID'}, not that of {name} in the namespace "
                f"{namespace}: nobody would take it for the service",
                ExitCode.REFUSED,
            )


def choose(
    context: Context,
    members: Sequence[str],
    service: str,
    *,
    directory: Path | None,
    joining: Joining | None,
    keep: bool,
) -> KernelAccess:
    """Returns the access that options and context describe.

    Args:
        context: where the kernel is, and what proves who asks.
        members: further addresses of the kernel.
        service: resource name.
        directory: identity directory that goes before the context's.
        joining: see KernelAccess.
        keep: whether this process keeps the identity in the directory.

    Raises:
        Failure: an address is malformed, or there is nothing that proves to the kernel who Envoy is, and the kernel is
            not on loopback.
    """
    from sira_client import IdentityAgent, IdentityFiles
    from sira_client.addresses import check

    kernel = tuple(client.accepted(check, address) for address in (context.addr, *members))
    kept = directory or (Path(context.identity_dir) if context.identity_dir else None)
    if keep:
        if kept is None:
            raise Failure("--identity: is missing; the identity that is joined for is kept there", ExitCode.USAGE)
        return KernelAccess(kernel, IdentityFiles(kept), service, kept, joining)
    if kept is not None:
        return KernelAccess(kernel, IdentityFiles(kept), service)
    if context.agent_socket:
        return KernelAccess(kernel, client.accepted(IdentityAgent, context.agent_socket), service)
    if context.plaintext:
        return KernelAccess(kernel, None, service)
    raise Failure(
        f"--identity: is missing; at {context.addr} Envoy has to prove who it is, with an identity of the service: "
        "give its directory, or run an agent on this host and set SPIFFE_ENDPOINT_SOCKET",
        ExitCode.USAGE,
    )
