"""Opens a streaming call on a route; where the channel's policy says so, on one after the other until answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

import grpc

from sira_client.first_of import drop
from sira_client.routing.attempts import Attempts
from sira_client.routing.plan import Plan
from sira_client.routing.replay import Replay
from sira_client.routing.retry import RetryPolicy

C = TypeVar("C", bound=grpc.aio.Call)

_ONCE = RetryPolicy(max_attempts=1)


class Answers:
    """The answers of a call, the first of which was waited for in advance."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._answers = aiter(call)
        self._first: asyncio.Task[Any] | None = asyncio.get_running_loop().create_task(self._next())

    async def begin(self) -> None:
        """Waits until an answer has begun, or the call has ended. Given up, it gives up the call.

        Raises:
            grpc.aio.AioRpcError: it failed before.
        """
        assert self._first is not None, "nothing was read yet"
        headers = asyncio.get_running_loop().create_task(self._call.initial_metadata())
        try:
            await asyncio.wait({headers, self._first}, return_when=asyncio.FIRST_COMPLETED)
            # Metadata that is empty may be that of a call which fails without an answer.
            if not (headers.done() and headers.result()):
                await asyncio.wait({self._first})
                self._first.result()
        except asyncio.CancelledError:
            self._call.cancel()
            await drop(self._first)
            raise
        finally:
            await drop(headers)

    async def read(self) -> Any:
        """The next answer; EOF at the end."""
        first, self._first = self._first, None
        return await self._next() if first is None else await first

    async def __aiter__(self) -> AsyncIterator[Any]:
        """The answers that are left."""
        while (answer := await self.read()) is not grpc.aio.EOF:
            yield answer

    async def _next(self) -> Any:
        return await anext(self._answers, grpc.aio.EOF)


class Opening(Generic[C]):
    """The way of a call to its answer.

    Args:
        plan: the call.
        requests: makes what keeps its requests; None where there is just one.
        streams: whether there may be several answers.

    Attributes:
        replay: what requests are to be written to; None if it is the call itself.
        answers: of the call, as far as they have begun already; None if they are to be had from the call itself.
    """

    def __init__(self, plan: Plan[C], requests: Callable[[], Replay] | None, *, streams: bool) -> None:
        self._plan = plan
        self._requests = requests
        self._attempts: Attempts[C, None] = Attempts(plan, _ONCE, self._begin_answers if streams else _answer)
        self._on_its_way = asyncio.Event()
        self.replay: Replay | None = None
        self.answers: Answers | None = None

    async def run(self) -> C:
        """Opens the call.

        Raises:
            grpc.aio.AioRpcError: it has not even begun, or failed for good before an answer.
        """
        try:
            await self._plan.configure()
            if self._plan.config is not None and self._plan.config.retries is not None:
                return await self._until_answered()
            route = await self._plan.find_route(())
            assert route is not None, "a router answers None only to a call that has tried"
            return self._plan.launch(route)
        finally:
            self._plan.release()
            self.close()

    def close(self) -> None:
        """The call goes nowhere else."""
        self._on_its_way.set()

    async def on_its_way(self) -> C | None:
        """Waits until the call goes somewhere. Returns the attempt that may yet be replaced; None if there is none."""
        await self._on_its_way.wait()
        return self._attempts.current

    async def _until_answered(self) -> C:
        self.replay = replay = self._plan.replay = self._requests() if self._requests is not None else None
        self._plan.launched = self._on_its_way.set
        try:
            await self._attempts.run()
        except BaseException:
            if replay is not None:
                replay.close()
            raise
        call = self._attempts.current
        assert call is not None, "what went well was an attempt"
        if replay is not None:
            replay.commit()
            call.add_done_callback(lambda _: replay.close())
        return call

    async def _begin_answers(self, call: C) -> None:
        self.answers = Answers(call)
        await self.answers.begin()


async def _answer(call: Any) -> None:
    await call
