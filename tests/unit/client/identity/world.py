"""A kernel and echo servers over mutual TLS, and clients whose identities a test renews."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import grpc
from sira_client import Client, Identity, Service, connect
from sira_client.link import Member

from tests.unit.client.balanced.echo_service import SERVICE, endpoint
from tests.unit.client.echo import Echo
from tests.unit.client.identity.given import Given, quick
from tests.unit.client.identity.trust import CALLER, ECHO, KERNEL, Root
from tests.unit.client.in_memory_kernel import InMemoryKernel


@dataclass
class World:
    """All of it. The kernel's identity, the servers' and the caller's are renewed apart from each other."""

    kernel_identity: Given
    served: Given
    caller: Given
    kernel: InMemoryKernel
    client: Client
    echoes: list[Echo] = field(default_factory=list)

    def give_all(self, root: Root, *others: Root) -> None:
        """New identities for everybody, from one root; others are trusted too."""
        self.kernel_identity.give(root.identity(KERNEL, *others))
        self.served.give(root.identity(ECHO, *others))
        self.renew(root, *others)

    def renew(self, root: Root, *others: Root) -> Identity:
        """A new identity for the caller."""
        identity = root.identity(CALLER, *others)
        self.caller.give(identity)
        return identity

    async def settle(self) -> None:
        """Waits until what was given has been taken."""
        for source in (self.kernel_identity, self.served, self.caller):
            await source.taken()


@asynccontextmanager
async def world(root: Root, *, endpoints: int = 2) -> AsyncIterator[World]:
    """Everybody has an identity of the same root, and every port asks for the caller's."""
    async with AsyncExitStack() as stack:
        kernel_identity, served, caller = (Given(root.identity(spiffe_id)) for spiffe_id in (KERNEL, ECHO, CALLER))
        for source in (kernel_identity, served):
            await stack.enter_async_context(source)
        kernel = InMemoryKernel(kernel_identity.server_credentials)
        await kernel.start()
        stack.push_async_callback(kernel.stop)
        echoes = [Echo(f"e{i}", served.server_credentials()) for i in range(endpoints)]
        for echo in echoes:
            await echo.start()
            stack.push_async_callback(echo.stop)
        await kernel.put(*(endpoint(echo) for echo in echoes), service=Service(name=SERVICE))
        client = connect(kernel.address, identity=caller, settings=quick())
        await stack.enter_async_context(client)
        yield World(kernel_identity, served, caller, kernel, client, echoes)


async def replaced(member: Member) -> None:
    """Waits until another connection has taken the place of this one."""
    async with asyncio.timeout(20):
        await member.left()


@asynccontextmanager
async def calling(callee: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], callers: int = 4) -> AsyncIterator[list[int]]:
    """Calls without a pause within the block, and fails if any call does. Yields how many there were, as they come."""
    done = [0]
    stop = asyncio.Event()

    async def call() -> None:
        while not stop.is_set():
            await callee(b"", timeout=20)
            done[0] += 1

    tasks = [asyncio.create_task(call()) for _ in range(callers)]
    try:
        yield done
    finally:
        stop.set()
        await asyncio.gather(*tasks)
