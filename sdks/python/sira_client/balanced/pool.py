"""The connections of a balanced channel: one to each endpoint that it may use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sira.registry.v1.endpoint_pb2 import Endpoint

from sira_client.addresses import target
from sira_client.balanced.subchannel import SubChannel
from sira_client.balancing import Candidate
from sira_client.dialing import Dial
from sira_client.first_of import drop


class Pool:
    """Sub-channels by endpoint name.

    Args:
        dial: opens a connection, given where to, as gRPC is told.
        changed: called when the state of any sub-channel changes; must not block.
    """

    def __init__(self, dial: Dial, changed: Callable[[], None]) -> None:
        self.in_flight: dict[str, int] = {}
        self._dial = dial
        self._changed = changed
        self._subchannels: dict[str, SubChannel] = {}
        self._successors: dict[str, SubChannel] = {}
        self._retiring: dict[asyncio.Task[None], SubChannel] = {}

    def __getitem__(self, name: str) -> SubChannel:
        """The sub-channel of an endpoint that has one."""
        return self._subchannels[name]

    def get(self, name: str) -> SubChannel | None:
        """The sub-channel of an endpoint, if it has one."""
        return self._subchannels.get(name)

    def sync(self, candidates: Sequence[Candidate]) -> None:
        """Connects to the candidates that get calls, and lets go of what is not a candidate any more.

        Calls that are under way there finish. A candidate without weight keeps a connection that it has.
        """
        wanted = {c.endpoint.name: c for c in candidates}
        for name in [name for name in self._subchannels if name not in wanted]:
            self._let_go(name)
        for candidate in candidates:
            if candidate.weight or candidate.endpoint.name in self._subchannels:
                self.connect(candidate.endpoint)

    def connect(self, endpoint: Endpoint) -> None:
        """Connects to an endpoint, unless that is done already; anew if it has moved."""
        where = target(endpoint.addresses, endpoint.port)
        known = self._subchannels.get(endpoint.name)
        if known is not None:
            if known.target == where:
                return
            self._let_go(endpoint.name)
        self._subchannels[endpoint.name] = self._open(endpoint.name, where)

    def renew(self) -> None:
        """Opens every connection anew. Calls take the new one as soon as it is ready, or the old one is not.

        Calls that are under way on an old one finish.
        """
        for name, known in self._subchannels.items():
            self._drop_successor(name)
            self._successors[name] = self._open(name, known.target)
        self._promote()

    def _open(self, name: str, where: str) -> SubChannel:
        return SubChannel(name, where, self._dial(where), self.in_flight, self._observed)

    def _observed(self) -> None:
        if self._successors:
            self._promote()
        self._changed()

    def _promote(self) -> None:
        for name, successor in list(self._successors.items()):
            known = self._subchannels[name]
            if successor.ready or not known.ready:
                self._subchannels[name] = self._successors.pop(name)
                self._retire(known)

    def _let_go(self, name: str) -> None:
        self._drop_successor(name)
        self._retire(self._subchannels.pop(name))

    def _drop_successor(self, name: str) -> None:
        successor = self._successors.pop(name, None)
        if successor is not None:
            self._retire(successor)

    def _retire(self, subchannel: SubChannel) -> None:
        task = asyncio.get_running_loop().create_task(subchannel.retire(None))
        self._retiring[task] = subchannel
        task.add_done_callback(self._retiring.pop)

    async def retire(self) -> None:
        """Lets go of all connections, and waits until the calls that are under way on them have finished."""
        self.sync(())
        if self._retiring:
            await asyncio.wait(list(self._retiring))

    async def close(self) -> None:
        """Closes all connections; calls on them are cancelled."""
        left = [*self._retiring.values(), *self._subchannels.values(), *self._successors.values()]
        self._subchannels.clear()
        self._successors.clear()
        await drop(*self._retiring)
        await asyncio.gather(*(subchannel.retire(0) for subchannel in left), return_exceptions=True)
