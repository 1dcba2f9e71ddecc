"""Members of a kernel without a network: a test has them say what it wants, when it wants, to a client's locks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import grpc
from sira.cluster.v1.lock_service_pb2 import HoldLockResponse, LockAcquired, LockAlive, LockQueued, LockReleased
from sira_client import Settings
from sira_client.link import Link
from sira_client.locks import Locks

from tests.unit.client.failure import Failure
from tests.unit.client.locks.virtual_time import now

LOCK = "namespaces/default/locks/x"
TTL = 12.0

ALIVE = HoldLockResponse(alive=LockAlive())
RELEASED = HoldLockResponse(released=LockReleased())
LOST = Failure(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_LOST")
GONE = Failure(grpc.StatusCode.UNAVAILABLE)


def acquired(key: str = "k", token: int = 7) -> HoldLockResponse:
    return HoldLockResponse(acquired=LockAcquired(lock_key=key, token=token))


def queued(key: str = "k") -> HoldLockResponse:
    return HoldLockResponse(queued=LockQueued(lock_key=key, ahead=1))


class _Aborted:
    """Catches what a kernel would end a call with."""

    status: grpc.Status

    async def abort_with_status(self, status: grpc.Status) -> None:
        self.status = status


async def _error(failure: Failure) -> grpc.aio.AioRpcError:
    aborted = _Aborted()
    await failure.abort(cast(Any, aborted))
    status = aborted.status
    return grpc.aio.AioRpcError(
        status.code, grpc.aio.Metadata(), grpc.aio.Metadata(*status.trailing_metadata), status.details
    )


@dataclass(frozen=True)
class Heard:
    """A request, and when it was sent. Of the end of the client's side, None."""

    at: float
    request: Any

    @property
    def step(self) -> str:
        return "end" if self.request is None else str(self.request.WhichOneof("step"))


class Stream:
    """A call, from both sides: the client reads, writes, and cancels."""

    def __init__(self) -> None:
        self._requests: asyncio.Queue[Heard] = asyncio.Queue()
        self._responses: asyncio.Queue[Any] = asyncio.Queue()
        self.cancelled = asyncio.Event()

    async def read(self) -> Any:
        response = await self._responses.get()
        if isinstance(response, Exception):
            raise response
        return response

    async def write(self, request: Any) -> None:
        copy = type(request)()
        copy.CopyFrom(request)
        self._requests.put_nowait(Heard(now(), copy))

    async def done_writing(self) -> None:
        self._requests.put_nowait(Heard(now(), None))

    def cancel(self) -> None:
        self.cancelled.set()

    async def heard(self) -> Heard:
        """The next request."""
        return await self._requests.get()

    def answer(self, response: Any) -> None:
        self._responses.put_nowait(response)

    def end(self) -> None:
        self.answer(grpc.aio.EOF)

    async def fail(self, failure: Failure) -> None:
        self.answer(await _error(failure))

    async def serve(self, response: Any = ALIVE) -> None:
        """Answers every request alike, at once."""
        while (await self.heard()).request is not None:
            self.answer(response)


class ScriptedMember:
    """A channel to a member: each stream that is opened is the test's; what is given back is noted."""

    def __init__(self) -> None:
        self._streams: asyncio.Queue[Stream] = asyncio.Queue()
        self.given_back: list[Heard] = []
        self.failures: deque[Exception] = deque()
        self.silent = False

    async def stream(self) -> Stream:
        """The next stream that is opened here."""
        return await self._streams.get()

    @property
    def idle(self) -> bool:
        return self._streams.empty()

    def stream_stream(self, *args: object, **kwargs: object) -> Any:
        def call() -> Stream:
            stream = Stream()
            self._streams.put_nowait(stream)
            return stream

        return call

    def unary_unary(self, *args: object, **kwargs: object) -> Any:
        async def call(request: Any) -> None:
            self.given_back.append(Heard(now(), request))
            if self.silent:
                await asyncio.Event().wait()
            if self.failures:
                raise self.failures.popleft()

        return call

    def unary_stream(self, *args: object, **kwargs: object) -> Any:
        def call(request: Any) -> Stream:
            stream = Stream()
            stream._requests.put_nowait(Heard(now(), request))
            self._streams.put_nowait(stream)
            return stream

        return call

    def stream_unary(self, *args: object, **kwargs: object) -> Any:
        """Nothing of locks is that."""

    async def close(self) -> None:
        """Does nothing: there is no connection."""


class Given:
    """Members, and the locks of a client that knows them; it begins with the first."""

    def __init__(self, members: int, settings: Settings) -> None:
        self.members = [ScriptedMember() for _ in range(members)]
        channels = iter(self.members)
        addresses = [f"m{number}:1" for number in range(members)]
        self.link = Link(addresses, lambda target: cast(grpc.aio.Channel, next(channels)), settings)
        self.link._current = 0
        channel = cast(grpc.aio.Channel, self.members[0])
        self.locks = Locks(self.link, channel, settings, lambda opened: opened, "default")

    @property
    def member(self) -> ScriptedMember:
        return self.members[0]


@asynccontextmanager
async def given(members: int = 1, **fields: Any) -> AsyncIterator[Given]:
    """Back-offs are so short that they do not matter: times of less than 0.1 s are not looked at."""
    made = Given(members, Settings(first_backoff=0.001, longest_backoff=0.01, random=Random(5), **fields))
    yield made
    await made.link.close()
