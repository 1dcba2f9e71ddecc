"""A kernel for many examples of garbage: it takes each or refuses it for a documented reason, and goes on serving.

SIRA_EXAMPLES says how many there are for each RPC.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio
from hypothesis import HealthCheck as Check
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.errors.v1.error_reason_pb2 import ErrorReason

from sira_grpc.rpc.status import code_of
from tests.integration.garbage import messages
from tests.integration.raw_calls import METHODS, call
from tests.integration.registry_kernel import Running, reason_of

DEFECTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}
WRITTEN_TOO_LATE = "Internal error from Core"
"""What grpc.aio makes of a write to a stream that the kernel has ended by then; why it did so is lost."""
SECONDS = 20
EXAMPLES = int(os.environ.get("SIRA_EXAMPLES", "30"))

W = TypeVar("W")
T = TypeVar("T")


class Bench(Generic[W]):
    """A kernel and its loop for many examples: one kernel for each would take most of the time.

    Args:
        running: runs a kernel in a folder.
        prepare: fills it.
        image: returns what a request that is refused must not change.
    """

    def __init__(
        self,
        running: Callable[[Path], AbstractAsyncContextManager[Running]],
        prepare: Callable[[Running], Awaitable[W]],
        image: Callable[[Running], Awaitable[object]],
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._running = running
        self._prepare = prepare
        self._image = image
        self.kernel: Running
        self.world: W

    def __enter__(self) -> Self:
        self._runner.run(self._start())
        return self

    async def _start(self) -> None:
        self.kernel = await self._stack.enter_async_context(self._running(Path(self._folder.name)))
        self.world = await self._prepare(self.kernel)

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()
        self._folder.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something in the loop of the kernel."""
        return self._runner.run(work)

    def send(self, rpc: str, requests: list[bytes]) -> None:
        """Sends messages; what they change is as it may, but what is refused for a reason changes nothing."""
        self._runner.run(self._send(rpc, requests))
        status = self._runner.run(self.kernel.status())
        assert status.store_writable
        assert not self.kernel.kernel.failed

    async def _send(self, rpc: str, requests: list[bytes]) -> None:
        before = await self._image(self.kernel)
        error = await self._error_of(rpc, requests)
        if error is None:
            return
        assert error.code() not in DEFECTS, error.details()
        reason = reason_of(error)
        assert reason, (error.code(), error.details())
        assert code_of(ErrorReason.Value(f"ERROR_REASON_{reason}")) == error.code()
        if len(requests) == 1:
            # A stream that attached and then failed has left its lease suspect, which is written behind.
            assert await self._image(self.kernel) == before

    async def _error_of(self, rpc: str, requests: list[bytes]) -> aio.AioRpcError | None:
        try:
            async with asyncio.timeout(SECONDS):
                await call(self.kernel, rpc, requests)
        except aio.AioRpcError as error:
            return None if error.details() == WRITTEN_TOO_LATE else error
        return None


def try_garbage(
    bench: Bench[W],
    rpc: str,
    base: Message,
    known: list[str],
    *,
    prepare: Callable[[bytes], bytes] = lambda wire: wire,
    examples: int = EXAMPLES,
) -> None:
    """Sends garbage to an RPC, again and again.

    Args:
        base: a good request.
        known: strings that mean something to the kernel.
        prepare: changes a message before it is sent.
        examples: how often.
    """

    @settings(max_examples=examples, deadline=None, suppress_health_check=[Check.too_slow, Check.data_too_large])
    @given(st.lists(messages(base, known), min_size=1, max_size=3 if METHODS[rpc].client_streaming else 1))
    def garbage(requests: list[bytes]) -> None:
        bench.send(rpc, [prepare(wire) for wire in requests])

    garbage()
