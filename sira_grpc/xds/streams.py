"""The streams of this member, and what pushes changes to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.clock import Clock
from sira_grpc.errors import KernelStopping
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.xds.batching import Batching
from sira_grpc.xds.encoding import Encoder, sotw_response
from sira_grpc.xds.name_sets import EMPTY, NameSets
from sira_grpc.xds.node import Node
from sira_grpc.xds.requests import node_of, type_of
from sira_grpc.xds.sotw import SotwSubscription
from sira_grpc.xds.source import Change, ResourceSource
from sira_grpc.xds.stream import Stream, Terms
from sira_grpc.xds.subscription import Counts, Reader

SLICE = 256
"""Streams that are told of a change before others have a turn."""
BEATS = 3
"""Heartbeats within a TTL."""
_NEVER = float("inf")


class Streams:
    """The open streams.

    Args:
        source: the resources.
        clock: the time.
        batch_limit: how long a change may wait for others while they come thick and fast, seconds.
        max_names: that a client may ask for, of one type.
        resource_ttl: for how long an Envoy may use endpoints without hearing of them, seconds; 0 means for ever.
        new_id: makes ids of streams.

    Attributes:
        pushed: called when a push has ended, with the seconds since the first change in it; must not block.
    """

    def __init__(
        self,
        source: ResourceSource,
        clock: Clock,
        *,
        batch_limit: float,
        max_names: int,
        resource_ttl: float,
        new_id: Callable[[], str],
    ) -> None:
        self._source = source
        self._clock = clock
        self._max_names = max_names
        self._ttl = resource_ttl
        self._new_id = new_id
        self._encoder = Encoder()
        self._name_sets = NameSets()
        self._counts = Counts()
        self.pushed: list[Callable[[float], None]] = []
        self._streams: dict[str, Stream] = {}
        self._closed = self._pushing = False
        self._batching = Batching(batch_limit)
        self._pending: Change | None = None
        self._pending_since = self._push_at = 0.0
        self._look_at = _NEVER
        self._beat_at = clock.monotonic() + resource_ttl / BEATS
        self._news = asyncio.Event()
        source.changed.append(self._changed)

    @property
    def streams(self) -> Collection[Stream]:
        """The streams that are open."""
        return tuple(self._streams.values())

    def open(
        self, *, delta: bool, type_url: str | None = None, identity: SpiffeId | None = None, peer: str = ""
    ) -> Stream:
        """Opens a stream. Its owner closes it.

        Args:
            delta: the client takes changes instead of states of the world.
            type_url: the only type that it is for; None if it is aggregated.
            identity: of the client; None where it showed none.
            peer: its address.

        Raises:
            KernelStopping: no streams are opened any more.
        """
        if self._closed:
            raise KernelStopping("the kernel is on its way out", retry_after=1.0)
        stream = Stream(
            self._new_id(),
            Terms(delta, type_url, identity, peer),
            reader_of=self._reader,
            generation=self._source.generation,
            clock=self._clock,
            keeping=self._look,
            ended=self._ended,
        )
        self._streams[stream.id] = stream
        return stream

    def fetch(self, request: Any, *, type_url: str, identity: SpiffeId | None = None) -> bytes:
        """Answers a DiscoveryRequest that is not part of a stream, with a serialized DiscoveryResponse.

        Raises:
            InvalidField: it breaks a rule.
        """
        asked = type_of(request, type_url, delta=False)
        subscription = SotwSubscription(self._reader(node_of(request, identity)), asked)
        subscription.receive(request)
        response = subscription.compose("", self._source.generation, self._clock.monotonic())
        return response.data if response is not None else sotw_response(self._encoder.sotw(asked, ()), "")

    @property
    def responses(self) -> int:
        """How many responses were made so far."""
        return self._counts.responses

    @property
    def rejections(self) -> int:
        """How many responses clients have rejected so far."""
        return self._counts.rejections

    def kinds(self) -> set[ClientKind.ValueType]:
        """Returns the kinds of clients that are connected."""
        return {stream.node.kind for stream in self._streams.values() if stream.node is not None}

    async def run(self) -> None:
        """Pushes what changes, for ever; cancelled by its owner."""
        while True:
            await self.step()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait()):
                    await self._news.wait()
            self._news.clear()

    async def step(self) -> None:
        """Does what is due by now."""
        now = self._clock.monotonic()
        if self._pending is not None and now >= self._push_at:
            change, since, self._pending = self._pending, self._pending_since, None
            self._pushing = True
            await self._push(change)
            ended = self._clock.monotonic()
            self._batching.pushed(now, ended)
            self._source.told(change.generation)
            self._pushing = False
            if self._pending is not None:  # it came meanwhile
                self._push_at = self._batching.admit(ended)
            for told in self.pushed:
                told(ended - since)
        if self._ttl and now >= self._beat_at:
            self._beat_at = now + self._ttl / BEATS
            for stream in self.streams:
                stream.beat()
        if now >= self._look_at:
            self._look_at = min((stream.overdue(now) for stream in self.streams), default=_NEVER)

    def close(self) -> None:
        """Ends all streams. No others are opened."""
        self._closed = True
        with suppress(ValueError):
            self._source.changed.remove(self._changed)
        for stream in self.streams:
            stream.close()

    def _reader(self, node: Node) -> Reader:
        ttl = self._ttl if node.envoy else 0.0
        return Reader(self._source, node, self._encoder, self._name_sets, self._counts, self._max_names, ttl)

    def _changed(self, change: Change) -> None:
        if self._pending is None:
            self._pending = change
            self._pending_since = self._clock.monotonic()
            if not self._pushing:
                self._push_at = self._batching.admit(self._pending_since)
            self._news.set()
        else:
            self._pending = _both(self._pending, change)

    async def _push(self, change: Change) -> None:
        for i, stream in enumerate(self.streams):
            if i and i % SLICE == 0:
                await asyncio.sleep(0)
            stream.tell(change)
        await asyncio.sleep(0)  # by when those that were told have made their responses

    def _look(self, at: float) -> None:
        """Has somebody look at a time whether a stream has kept what is gone for long enough."""
        if at < self._look_at:
            self._look_at = at
            self._news.set()

    def _ended(self, stream: Stream) -> None:
        self._streams.pop(stream.id, None)

    def _wait(self) -> float | None:
        """Returns for how long nothing is due, seconds; None for ever."""
        at = min(
            self._push_at if self._pending is not None else _NEVER,
            self._beat_at if self._ttl else _NEVER,
            self._look_at,
        )
        return None if at == _NEVER else max(0.0, at - self._clock.monotonic())


def _both(one: Change, other: Change) -> Change:
    names = dict(one.names)
    for type_url, more in other.names.items():
        names[type_url] = names.get(type_url, EMPTY) | more
    return Change(max(one.generation, other.generation), one.services | other.services, names)
