"""Calls of the greeter service at a steady rate, and what is told of them. Knows nothing of Sira."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from demo.greeter import stub, who
from demo.report import Report

REPORT_SECONDS = 0.2
CALL_TIMEOUT_SECONDS = 5.0
ERRORS_TOLD = 3


_attempts: ContextVar[list[str]] = ContextVar("attempts")
"""One item for each time that the current call was sent to a greeter."""


class Attempts(grpc.aio.UnaryUnaryClientInterceptor):
    """Notes each attempt of a call: there are several where one broke off and another greeter was tried."""

    async def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        """Sees one attempt."""
        _attempts.get().append(details.method)
        return await continuation(details, request)


class Caller:
    """Makes calls and gathers how they went.

    Args:
        name: who calls.
        channel: to the service.
    """

    def __init__(self, name: str, channel: grpc.aio.Channel) -> None:
        self._name = name
        self._greet = stub(channel)
        self._report = Report()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Starts so many calls a second, whether or not those before have been answered, and tells of them."""
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(self._tell())
            due = time.monotonic()
            while not stop.is_set():
                self._start_call()
                due += 1 / rate
                await asyncio.sleep(due - time.monotonic())
            if self._under_way:
                await asyncio.wait(self._under_way)
            reporting.cancel()
        self._flush()

    def _start_call(self) -> None:
        task = asyncio.create_task(self._call())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _call(self) -> None:
        began = time.monotonic()
        attempts: list[str] = []
        _attempts.set(attempts)
        try:
            answer = await self._greet(StringValue(value=self._name), timeout=CALL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            self._report.failed += 1
            self._report.errors = [*self._report.errors, f"{error.code().name}: {error.details()}"][:ERRORS_TOLD]
            return
        self._report.answered[who(answer)] += 1
        self._report.retried += len(attempts) > 1
        self._report.millis.append(round((time.monotonic() - began) * 1000, 2))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._flush()

    def _flush(self) -> None:
        report, self._report = self._report, Report()
        print(report.to_line(), flush=True)
