"""A connection as a cluster uses it whose policy goes by what becomes of calls."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import grpc

from sira_client.balanced.breakers import Breaker
from sira_client.balanced.subchannel import SubChannel

T = TypeVar("T")
Ended = Callable[[str, grpc.aio.Call], None]


class Lane:
    """A route by way of a sub-channel, on which a cluster has its eye.

    Args:
        subchannel: the connection.
        breaker: counts the calls under way.
        ended: told of each call that has ended, with the name of the endpoint; must not block.
    """

    def __init__(self, subchannel: SubChannel, breaker: Breaker, ended: Ended) -> None:
        self.subchannel = subchannel
        self._breaker = breaker
        self._ended = ended

    @property
    def name(self) -> str:
        """Resource name of the endpoint."""
        return self.subchannel.name

    @property
    def channel(self) -> grpc.aio.Channel:
        """See Route."""
        return self.subchannel.channel

    def carry(self, call: grpc.aio.Call) -> None:
        """See Route."""
        self._breaker.under_way += 1
        self.subchannel.carry(call)
        call.add_done_callback(self._finished)

    def failed(self) -> None:
        """See Route."""
        self.subchannel.failed()

    def _finished(self, call: grpc.aio.Call) -> None:
        self._breaker.under_way -= 1
        self._ended(self.subchannel.name, call)


def told(coroutine: Coroutine[Any, Any, T]) -> T | None:
    """What a call that has ended tells: its coroutines wait for nothing any more. None if this one does."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        value: T = result.value
        return value
    except grpc.aio.AioRpcError:
        return None
    coroutine.close()
    return None
