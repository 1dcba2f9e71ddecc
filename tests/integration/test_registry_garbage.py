"""Garbage to every RPC: it is taken or refused with a documented reason, and the kernel goes on serving."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from hypothesis import HealthCheck as Check
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.errors.v1.error_reason_pb2 import ErrorReason
from sira.registry.v1.registry_service_pb2 import DrainRequest

from sira_grpc.rpc.status import code_of
from tests.clocks import FakeClock
from tests.integration.registry_cases import accepted
from tests.integration.registry_garbage import messages
from tests.integration.registry_kernel import SERVICE, Running, reason_of, running
from tests.integration.registry_world import DEFAULT, MINE, THEIRS, TOLD, World, prepare
from tests.integration.test_registry_bad_input import METHODS, call

DEFECTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}

WRITTEN_TOO_LATE = "Internal error from Core"
"""What grpc.aio makes of a write to a stream that the kernel has ended by then; why it did so is lost."""


class Bench:
    """A kernel and its loop for many examples: one kernel for each would take most of the time."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.kernel: Running
        self.world: World

    def __enter__(self) -> Bench:
        self._runner.run(self._start())
        return self

    async def _start(self) -> None:
        kernel = running(Path(self._folder.name), clock=FakeClock())
        self.kernel = await self._stack.enter_async_context(kernel)
        self.world = await prepare(self.kernel)

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()
        self._folder.cleanup()

    def send(self, rpc: str, requests: list[bytes]) -> None:
        """Sends messages; what they change is as it may, but what is refused for a reason changes nothing."""
        self._runner.run(self._send(rpc, requests))

    async def _send(self, rpc: str, requests: list[bytes]) -> None:
        registry = self.kernel.kernel.registry
        assert registry is not None
        for pending in (registry.keeper.suspects, registry._health_writer.pending):
            await pending.flush()
        before = await self.kernel.status()
        error = await self._error_of(rpc, requests)
        if error is None:
            return
        assert error.code() not in DEFECTS, error.details()
        reason = reason_of(error)
        assert reason, (error.code(), error.details())
        assert code_of(ErrorReason.Value(f"ERROR_REASON_{reason}")) == error.code()
        if len(requests) == 1:
            # A stream that attached and then failed has left its lease suspect, which is written behind.
            assert (await self.kernel.status()).registry == before.registry

    async def _error_of(self, rpc: str, requests: list[bytes]) -> aio.AioRpcError | None:
        try:
            async with asyncio.timeout(20):
                await call(self.kernel, rpc, requests)
        except aio.AioRpcError as error:
            return None if error.details() == WRITTEN_TOO_LATE else error
        return None

    def serves(self) -> None:
        """Makes sure that it is as it should be."""
        status = self._runner.run(self.kernel.status())
        assert status.store_writable
        assert not self.kernel.kernel.failed


def quick(rpc: str, wire: bytes) -> bytes:
    """The message; a Drain is told not to wait, as load may have been reported that never ends."""
    request = GetMessageClass(METHODS[rpc].input_type)()
    if not isinstance(request, DrainRequest):
        return wire
    try:
        request.ParseFromString(wire)
    except Exception:  # noqa: BLE001 - not a message, and refused as such
        return wire
    if not request.HasField("timeout") or request.timeout.ToMilliseconds() > 1:
        request.timeout.FromMilliseconds(0)
    return request.SerializeToString()


@pytest.mark.parametrize("rpc", METHODS)
def test_garbage(rpc: str) -> None:
    with Bench() as bench:
        world, method = bench.world, METHODS[rpc]
        base: Message = accepted(world)[method.name]
        known = [DEFAULT, SERVICE, MINE, TOLD, THEIRS, world.key, world.other_key, world.wrong_key, world.lease]
        most = 3 if method.client_streaming else 1

        @settings(max_examples=30, deadline=None, suppress_health_check=[Check.too_slow, Check.data_too_large])
        @given(st.lists(messages(base, known), min_size=1, max_size=most))
        def garbage(requests: list[bytes]) -> None:
            bench.send(rpc, [quick(rpc, wire) for wire in requests])
            bench.serves()

        garbage()
