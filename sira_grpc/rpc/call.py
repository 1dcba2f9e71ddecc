"""One call as the edge sees it: its method, who makes it, how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message
from grpc import aio

from sira_grpc.errors import SiraError
from sira_grpc.identity.callers import Caller

Context = aio.ServicerContext[Any, Any]
"""What gRPC hands a servicer method."""
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler  # generic in its stubs only
"""A servicer method with its shape and serializers."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method that the server has.

    name: `package.Service/Method`.
    service: `package.Service`.
    streams: either side sends a stream.
    """

    name: str
    service: str
    streams: bool
    deserialize: Callable[[bytes], Message]
    serialize: Callable[[Any], bytes]


class Call:
    """A call under way. Attributes that an interceptor owns are written by it alone."""

    # Defaults live on the class: most calls leave most of them alone, and setting each costs every call.

    identity: str = ""
    """The verified identity of the caller: a SPIFFE ID, `dns:<name>` or `cn:<name>`. Empty where there is none."""
    caller: str = ""
    """Whom limits count for and events name: the identity, or the host where there is none."""
    code: grpc.StatusCode = grpc.StatusCode.OK
    """How the call ended. Valid in Interceptor.exit."""
    stopping: bool = False
    """The kernel is stopping: what ends the call now is not the client."""
    task: asyncio.Task[Any] | None = None
    """The task that runs the handler; owned by gRPC. Set while the kernel may have to cancel it."""
    opening: bool = False
    """The first message of a stream is being written: must not be cancelled."""
    ending: SiraError | None = None
    """What the call is to end with, because the kernel's side ends it."""
    interrupted: bool = False
    """The task was cancelled for that."""
    forwarded: str = ""
    """Id of the member that makes the call, by a signature that counts; empty where it is nobody's but the client's."""
    credential: Caller | None = None
    """What was verified of the caller. None where it has no identity, or one that does not expire."""
    depth: int = 0
    """Interceptors that were entered, of those that want to be."""
    started: float = 0.0
    """When metrics saw it begin."""
    usage: Any = None
    """What limits counted it in."""

    def __init__(self, method: Method, context: Context) -> None:
        self.method = method
        self.context = context

    def end(self, error: SiraError) -> None:
        """Ends the call from the kernel's side. A first message that is being written is written before."""
        if self.ending is None:
            self.ending = error
        if self.task is not None and not self.interrupted and not self.opening:
            self.interrupted = True
            self.task.cancel()

    async def send_headers(self, headers: Sequence[tuple[str, str | bytes]]) -> None:
        """Sends the headers now, and not with the first response."""
        await self.opened_by(self.context.send_initial_metadata(tuple(headers)))

    async def opened_by(self, sending: Awaitable[None]) -> None:
        """Waits until the headers are sent. Who ends the call waits for it too.

        gRPC takes the headers for sent only when what sends them returns: after a cancelled one an abort would send
        them again, which fails, and the client would not be told how its stream ended.
        """
        self.opening = True
        await sending
        self.opening = False
        if self.ending is not None:
            raise self.ending


_current: ContextVar[Call] = ContextVar("sira_call")


def enter_call(call: Call) -> None:
    """Makes it the current call of this task, and of those that it starts. A call has a task of its own."""
    _current.set(call)


def current_call() -> Call:
    """Returns the call that the running servicer method serves.

    Raises:
        LookupError: outside a call.
    """
    return _current.get()


def actor() -> str:
    """Returns the identity or address of the current caller; empty outside a call, where the kernel itself acts."""
    call = _current.get(None)
    return call.caller if call else ""
