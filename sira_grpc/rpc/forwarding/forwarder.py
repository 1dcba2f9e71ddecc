"""Forwards calls to the member that they belong to, as bytes, and brings back what it answers.

A call is made again, unseen by the client, only where it was certainly not executed: no connection stood, or the owner
says so (`executed: no` in its error; an error without it, NotOwner too, may come of a call that was half done). A
connection that breaks later leaves the outcome unknown, and the client is told that.

Of what a client streams, the owner gets the first message, and the rest once it has accepted the call: its edge sends
the headers then. So what must be kept for another attempt is one message, whatever its client sends, and there is no
other attempt once an owner may have begun to serve. That costs one round trip between members for each stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message
from grpc import aio

from sira_grpc.rpc.call import Call, Method
from sira_grpc.rpc.forwarding import answers
from sira_grpc.rpc.forwarding.attempts import Attempts, Reach
from sira_grpc.rpc.forwarding.carried import carried
from sira_grpc.rpc.forwarding.exchange import Exchange
from sira_grpc.rpc.forwarding.peer_connection import PeerConnection
from sira_grpc.rpc.forwarding.routes import UnitOf
from sira_grpc.rpc.forwarding.signature import HEADER, Signer
from sira_grpc.rpc.forwarding.uplink import Requests


class Route:
    """The way of the calls of one method to the members that they belong to.

    Args:
        method: see Method.
        unit_of: returns the unit of work that a request is about.
        reach: how members are reached.
        signer: signs calls.
    """

    def __init__(self, method: Method, unit_of: UnitOf, reach: Reach, signer: Signer) -> None:
        self._method = method
        self._unit_of = unit_of
        self._reach = reach
        self._placement = reach.placement
        self._signer = signer

    def elsewhere(self, call: Call, request: Message) -> str:
        """Returns the unit of work of a call that is another member's, by its first request; empty if it is not.

        Raises:
            NotOwner: it does, and was forwarded here by one that sees it otherwise: it goes no further.
        """
        unit = self._unit_of(request)
        if not unit:
            return ""
        owner = self._placement.owner(unit)
        if owner == self._placement.member:
            return ""
        if call.forwarded:
            raise answers.unreachable(owner, f"member {self._placement.member} does not, and forwards no further")
        return unit

    async def single(
        self, call: Call, unit: str, data: bytes, requests: Requests | None, here: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Returns the response of the owner, or of `here`, where that is this member by now.

        Args:
            call: belongs to another member.
            unit: of work, that it is about.
            data: the request as it came, where the client does not stream.
            requests: what the client streams; None where it does not.
            here: calls the servicer's method.

        Raises:
            NotOwner: the owner could not be reached, or the connection to it was lost.
            aio.AbortError: the call was aborted, with the status that the owner gave it.
        """
        attempts = Attempts(self._reach, call, unit)
        while (connection := await attempts.connect()) is not None:
            exchange = self._begin(call, connection, data, requests, streams=False)
            try:
                return await exchange.response()
            except (aio.AioRpcError, asyncio.CancelledError) as error:
                await _failed(call, attempts, exchange, error)
            finally:
                await exchange.close()
        return await here()

    async def many(
        self,
        call: Call,
        unit: str,
        data: bytes,
        requests: Requests | None,
        here: Callable[[], AsyncGenerator[Any, None]],
    ) -> AsyncGenerator[Any, None]:
        """Yields the responses of the owner; see `single`."""
        attempts = Attempts(self._reach, call, unit)
        while (connection := await attempts.connect()) is not None:
            exchange = self._begin(call, connection, data, requests, streams=True)
            try:
                async with aclosing(exchange.responses()) as responses:
                    async for response in responses:
                        yield response
                return
            except (aio.AioRpcError, asyncio.CancelledError) as error:
                await _failed(call, attempts, exchange, error)
            finally:
                await exchange.close()
        async with aclosing(here()) as own:
            async for response in own:
                yield response

    def _begin(
        self, call: Call, connection: PeerConnection, data: bytes, requests: Requests | None, *, streams: bool
    ) -> Exchange:
        """Begins the call at the owner. It has as long as the client's."""
        name = self._method.name
        header = self._signer.sign(name, identity=call.identity, caller=call.caller)
        metadata = (*carried(call.context.invocation_metadata() or ()), (HEADER, header))
        make = connection.callable(name, reads=requests is not None, streams=streams)
        timeout = call.context.time_remaining()
        if requests is None:
            outgoing = make(data, timeout=timeout, metadata=metadata)
        else:
            outgoing = make(timeout=timeout, metadata=metadata)
        return Exchange(call, connection, outgoing, requests)


async def _failed(
    call: Call, attempts: Attempts, exchange: Exchange, error: aio.AioRpcError | asyncio.CancelledError
) -> None:
    """Returns when the next attempt is due. Raises what the client is told where there is none."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
        # The call at the owner was cancelled, and not this one: the member is gone, or took too long to finish.
        exchange.refused()
        raise answers.outcome_unknown(attempts.member) from error
    if exchange.repeatable and answers.not_executed(error):
        await attempts.pause(answers.unreachable(attempts.member, "it does not take the call yet, or any more"))
        return
    told = answers.unanswered(error, attempts.member)
    if told is not None:
        raise told from error
    await answers.pass_on(call.context, error)


class Forwarder:
    """Knows which methods are forwarded, and how.

    Args:
        routes: by method; see `routes.ROUTES`.
        reach: how members are reached.
        signer: signs calls.
    """

    def __init__(self, routes: Mapping[str, UnitOf], reach: Reach, signer: Signer) -> None:
        self._routes = routes
        self._reach = reach
        self._signer = signer

    def route(self, method: Method) -> Route | None:
        """Returns the way of a method; None where it is served by whichever member it reaches."""
        unit_of = self._routes.get(method.name)
        return None if unit_of is None else Route(method, unit_of, self._reach, self._signer)
